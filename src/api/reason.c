#include "api/reason.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define REASON_MAX 512

static struct {
    unsigned status; /* 0: none is set */
    bool asked, measured;
    char text[REASON_MAX];
} next;

void reason_set(unsigned status, const char *text)
{
    next.status = text ? status : 0;
    next.asked = next.measured = false;
    snprintf(next.text, sizeof next.text, "%s", text ? text : "");
}

static const char *usual(unsigned code)
{
    switch (code) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    default:
        return "See The Body";
    }
}

/* Once text and length were asked for, in whatever order, that answer's head is written: the next one of this
 * number may be another's. */
static void over(void)
{
    if (next.asked && next.measured)
        next.status = 0;
}

/* In place of libmicrohttpd's. */
const char *MHD_get_reason_phrase_for(unsigned int code)
{
    if (code != next.status)
        return usual(code);
    next.asked = true;
    over();
    return next.text;
}

size_t MHD_get_reason_phrase_len_for(unsigned int code)
{
    if (code != next.status)
        return strlen(usual(code));
    next.measured = true;
    over();
    return strlen(next.text);
}
