#include "api/listen.h"

#include "base/fs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 128

char *listen_where(const struct settings *s)
{
    return s->listen ? xstrdup(s->listen)
                     : xasprintf("[::]:%d", fs_exists("/usr/bin/pveproxy") ? 8016 : 8006);
}

static socklen_t make_address(const char *host, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in6 *six = (void *)ret;
    struct sockaddr_in *four = (void *)ret;
    *ret = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        return sizeof *six;
    }
    inet_pton(AF_INET, host, &four->sin_addr);
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    return sizeof *four;
}

static int open_at(const struct sockaddr_storage *at, socklen_t len)
{
    int on = 1, off = 0;
    _cleanup_close_ int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -1;
    if (at->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (const void *)at, len) < 0 || listen(fd, BACKLOG) < 0)
        return -1;
    return take_fd(&fd);
}

int listen_open(const char *where, struct err *e)
{
    _cleanup_free_ char *host = NULL;
    uint16_t port;
    struct sockaddr_storage at;
    if (settings_parse_listen(where, &host, &port, e) < 0)
        return -1;
    socklen_t len = make_address(host, port, &at);
    int fd = open_at(&at, len);
    if (fd < 0 && errno == EAFNOSUPPORT && strcmp(host, "::") == 0) { /* a kernel without IPv6 */
        len = make_address("0.0.0.0", port, &at);
        fd = open_at(&at, len);
    }
    return fd < 0 ? err_sys(e, "cannot serve the API on %s, see 'listen' in pvesr.conf(5)", where) : fd;
}

void listen_print_peer(const struct sockaddr *sa, char out[INET6_ADDRSTRLEN])
{
    snprintf(out, INET6_ADDRSTRLEN, "?");
    if (sa && sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, out, INET6_ADDRSTRLEN);
    if (sa && sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, out,
                  INET6_ADDRSTRLEN);
    if (strncmp(out, "::ffff:", 7) == 0 && strchr(out, '.'))
        memmove(out, out + 7, strlen(out + 7) + 1);
}
