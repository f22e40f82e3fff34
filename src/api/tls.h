/* The certificate of new connections, which may be replaced while others are open. libmicrohttpd asks for it
 * without saying for whom, so a process has one. */
#pragma once

#include "api/certificate.h"

#include <gnutls/abstract.h>

/* ERR_CONFIG when they are none, or do not fit each other: what was used is used on. */
int tls_use(const struct certificate *c, struct err *e);
/* Frees what was replaced longer ago than any handshake takes: `seconds`. */
void tls_sweep(double seconds);
void tls_release(void);

/* For gnutls_certificate_set_retrieve_function2. */
int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **certs,
                 unsigned *n_certs, gnutls_privkey_t *key);
