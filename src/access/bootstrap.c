#include "access/bootstrap.h"

#include "base/base64.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#define WWW_KEY_BYTES 48 /* of chance */

void bootstrap_release(struct bootstrap *b)
{
    for (size_t i = 0; i < b->n; i++) {
        explicit_bzero(b->files[i].text, strlen(b->files[i].text));
        free(b->files[i].text);
    }
    *b = (struct bootstrap){0};
}

static void add(struct bootstrap *b, const char *path, char *text)
{
    if (text)
        b->files[b->n++] = (struct bootstrap_file){path, text};
}

static int add_www_key(struct bootstrap *b, struct err *e)
{
    uint8_t chance[WWW_KEY_BYTES];
    int r = gnutls_rnd(GNUTLS_RND_KEY, chance, sizeof chance);
    if (r < 0)
        return err_set(e, ERR_SYSTEM, 0, "no pve-www.key can be made: %s", gnutls_strerror(r));
    struct buf text = BUF_INIT;
    base64_encode(chance, sizeof chance, true, &text);
    buf_addc(&text, '\n');
    explicit_bzero(chance, sizeof chance);
    add(b, "pve-www.key", buf_take(&text));
    return 0;
}

/* What the lost key signed stays good, as after a rotation. The private key comes first: where the next one
 * is not written any more, the next look finds out the public one. */
static int add_new_keys(struct bootstrap *b, const char *public_key, struct err *e)
{
    struct ticket_new_keys k;
    if (ticket_keys_rotate(public_key, &k, e) < 0)
        return -1;
    add(b, "authkey.pub.old", take_ptr(k.old_key));
    add(b, "priv/authkey.key", take_ptr(k.private_key));
    add(b, "authkey.pub", take_ptr(k.public_key));
    return 0;
}

/* Whoever replaced them may have been killed between the two. One that is damaged stays as it is. */
static bool are_of_two(const struct ticket_key_texts *there)
{
    struct err ignored;
    _cleanup_ticket_keys_ struct ticket_keys *k = ticket_keys_new(there, &ignored);
    return k && !ticket_keys_fit(k);
}

static int add_keys(struct bootstrap *b, const struct ticket_key_texts *there, struct err *e)
{
    char *public_key;
    if (!there->private_key)
        return add_new_keys(b, there->public_key, e);
    if (there->public_key && !are_of_two(there))
        return 0;
    if (ticket_keys_public(there->private_key, &public_key, e) < 0)
        return -1;
    add(b, "authkey.pub.old", there->public_key ? xstrdup(there->public_key) : NULL);
    add(b, "authkey.pub", public_key);
    return 0;
}

int bootstrap_plan(const struct access_texts *there, struct bootstrap *ret, struct err *e)
{
    *ret = (struct bootstrap){0};
    if (!there->user_cfg)
        add(ret, "user.cfg", xstrdup("user:" ROOT_USER ":1:0::::::\n"));
    if ((there->www_len == 0 && add_www_key(ret, e) < 0) || add_keys(ret, &there->keys, e) < 0) {
        bootstrap_release(ret);
        return -1;
    }
    return 0;
}
