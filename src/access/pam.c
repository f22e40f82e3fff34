/* The one file of this folder that reaches beyond it. */
#include "access/login.h"

#include <security/pam_appl.h>
#include <string.h>

/* The password is the answer to whatever is asked without an echo; nothing else is answered. */
static int answer_one(const struct pam_message *m, const char *password, struct pam_response *r)
{
    if (m->msg_style == PAM_PROMPT_ECHO_ON)
        return PAM_CONV_ERR;
    if (m->msg_style == PAM_PROMPT_ECHO_OFF)
        r->resp = xstrdup(password);
    return PAM_SUCCESS;
}

static int converse(int n, const struct pam_message **messages, struct pam_response **responses,
                    void *password)
{
    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    struct pam_response *r = xcalloc((size_t)n, sizeof *r); /* PAM frees it, and each answer */
    for (int i = 0; i < n; i++) {
        if (answer_one(messages[i], password, &r[i]) == PAM_SUCCESS)
            continue;
        for (int k = 0; k < i; k++)
            free(r[k].resp);
        free(r);
        return PAM_CONV_ERR;
    }
    *responses = r;
    return PAM_SUCCESS;
}

/* In place of PAM's own: whoever asked answers a failure later, the same for all (LOGIN_REFUSED_SECONDS). */
static void no_delay(int status, unsigned usec, void *data)
{
}

static int authenticate(pam_handle_t *h, const char *rhost)
{
    int r = pam_set_item(h, PAM_RHOST, rhost);
    if (r == PAM_SUCCESS)
        r = pam_set_item(h, PAM_FAIL_DELAY, (const void *)no_delay);
    if (r == PAM_SUCCESS)
        r = pam_authenticate(h, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    return r == PAM_SUCCESS ? pam_acct_mgmt(h, PAM_SILENT) : r;
}

int login_pam(const char *service, const char *dir, const char *user, const char *password, const char *rhost,
              struct err *e)
{
    pam_handle_t *h = NULL;
    struct pam_conv conv = {converse, (void *)password};
    int r = pam_start_confdir(service, user, &conv, dir, &h);
    if (r != PAM_SUCCESS)
        return err_set(e, ERR_SYSTEM, 0, "PAM service '%s' cannot be used: %s", service, pam_strerror(h, r));
    r = authenticate(h, rhost);
    if (r != PAM_SUCCESS)
        err_set(e, ERR_USAGE, 0, "PAM service '%s' does not let in '%s': %s", service, user,
                pam_strerror(h, r));
    pam_end(h, r);
    return r == PAM_SUCCESS ? 0 : -1;
}
