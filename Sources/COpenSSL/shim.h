#pragma once
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/opensslv.h>
#if !defined(OPENSSL_NO_ENGINE) && OPENSSL_VERSION_NUMBER < 0x30200000L
#include <openssl/engine.h>
#endif
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

// Macros that Swift cannot import, one inline function each.

// SSL_CTX: fixed at creation.
static inline void martinet_ssl_ctx_harden(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    // Without NO_AUTO_CHAIN libssl would complete our chain from the anchors and send the root, too.
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY | SSL_MODE_NO_AUTO_CHAIN);
}
static inline void martinet_ssl_ctx_prefer_client_ciphers(SSL_CTX *ctx) {
    SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
}
static inline void martinet_ssl_ctx_refuse_tickets(SSL_CTX *ctx) { SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET); }
static inline int martinet_ssl_ctx_set_versions(SSL_CTX *ctx, int minimum, int maximum) {
    return SSL_CTX_set_min_proto_version(ctx, minimum) && SSL_CTX_set_max_proto_version(ctx, maximum);
}
static inline int martinet_ssl_ctx_set_groups(SSL_CTX *ctx, const char *groups) {
    return (int)SSL_CTX_set1_groups_list(ctx, groups);
}
static inline int martinet_ssl_ctx_add_chain_certificate(SSL_CTX *ctx, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(ctx, certificate);
}
static inline void martinet_ssl_ctx_set_max_chain_bytes(SSL_CTX *ctx, long bytes) {
    SSL_CTX_set_max_cert_list(ctx, bytes);
}
static inline void martinet_ssl_ctx_keep_no_sessions(SSL_CTX *ctx) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}
static inline void martinet_ssl_ctx_hand_out_client_sessions(SSL_CTX *ctx) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
}

// SSL: one connection.
static inline int martinet_ssl_set_versions(SSL *ssl, int minimum, int maximum) {
    return SSL_set_min_proto_version(ssl, minimum) && SSL_set_max_proto_version(ssl, maximum);
}
static inline int martinet_ssl_set_server_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}
static inline void martinet_ssl_set_message_argument(SSL *ssl, void *argument) {
    SSL_set_msg_callback_arg(ssl, argument);
}

// BIO: what a read method says when its caller's bytes are used up.
static inline void martinet_bio_wants_read(BIO *bio) {
    BIO_clear_retry_flags(bio);
    BIO_set_retry_read(bio);
}
static inline void martinet_bio_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }

// Whether reading PEM ended because there was no further block.
static inline int martinet_is_end_of_pem(unsigned long error) {
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

// STACK_OF(T).
static inline int martinet_x509_count(const STACK_OF(X509) *stack) { return sk_X509_num(stack); }
static inline X509 *martinet_x509_at(const STACK_OF(X509) *stack, int index) { return sk_X509_value(stack, index); }
static inline int martinet_general_name_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
static inline GENERAL_NAME *martinet_general_name_at(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}

// RFC 2253 text of a name: most specific first, control characters and non-ASCII escaped.
static inline int martinet_x509_name_print(BIO *out, const X509_NAME *name) {
    return X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253);
}

// HMAC-SHA-256 under `key` for a session ticket.
static inline int martinet_ticket_mac_set_key(EVP_MAC_CTX *mac, const unsigned char *key, size_t length) {
    OSSL_PARAM parameters[3];
    parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key, length);
    parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0);
    parameters[2] = OSSL_PARAM_construct_end();
    return EVP_MAC_CTX_set_params(mac, parameters);
}

static inline void martinet_openssl_free(void *pointer) { OPENSSL_free(pointer); }

// Keys. Those on elliptic curves and RSA's public ones are made by libcrypto's older interface: in 3.0 the
// provider's decoder takes some 230 us for a key that this one takes in 3 us.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#if !defined(OPENSSL_NO_ENGINE) && OPENSSL_VERSION_NUMBER < 0x30200000L
static int martinet_offer_ec(ENGINE *engine, EVP_PKEY_METHOD **method, const int **kinds, int kind) {
    static const int offered[] = {EVP_PKEY_EC};
    (void)engine;
    if (!method) {
        *kinds = offered;
        return 1;
    }
    // libcrypto's own method: the engine brings no code.
    *method = kind == EVP_PKEY_EC ? (EVP_PKEY_METHOD *)EVP_PKEY_meth_find(EVP_PKEY_EC) : NULL;
    return *method != NULL;
}
#endif
// Has d2i_X509, and so libssl, decode keys on elliptic curves by the older interface too: libcrypto before 3.2 asks
// its decoders only where no engine offers the kind of key (x_pubkey.c, x509_pubkey_decode). They build a list of all
// there are for each certificate, 110 us against 3 us. A point is checked to lie on its curve either way. Once per
// process, before it reads certificates on several threads. 1: so it is.
static inline int martinet_decode_ec_keys_directly(void) {
#if !defined(OPENSSL_NO_ENGINE) && OPENSSL_VERSION_NUMBER < 0x30200000L
    ENGINE *engine = ENGINE_new();
    // The table that it is registered in holds no reference: this one stays for ever.
    return engine && ENGINE_set_id(engine, "martinet-ec") && ENGINE_set_pkey_meths(engine, martinet_offer_ec) &&
           ENGINE_register_pkey_meths(engine);
#else
    return 0;
#endif
}
static inline EVP_PKEY *martinet_ec_adopt(EC_KEY *key, int good) {
    EVP_PKEY *whole = good ? EVP_PKEY_new() : NULL;
    if (whole && EVP_PKEY_assign_EC_KEY(whole, key)) return whole;
    EVP_PKEY_free(whole);
    EC_KEY_free(key);
    return NULL;
}
static inline EVP_PKEY *martinet_ec_generate(const EC_GROUP *group) {
    EC_KEY *key = EC_KEY_new();
    return martinet_ec_adopt(key, key && EC_KEY_set_group(key, group) && EC_KEY_generate_key(key));
}
// The point is checked to lie on the curve.
static inline EVP_PKEY *martinet_ec_public_key(const EC_GROUP *group, const unsigned char *point, size_t length) {
    EC_KEY *key = EC_KEY_new();
    return martinet_ec_adopt(key, key && EC_KEY_set_group(key, group) && EC_KEY_oct2key(key, point, length, NULL));
}
// The uncompressed point of a key made by martinet_ec_generate; its length, or 0.
static inline size_t martinet_ec_point(EVP_PKEY *whole, unsigned char *out, size_t capacity) {
    const EC_KEY *key = EVP_PKEY_get0_EC_KEY(whole);
    if (!key) return 0;
    return EC_POINT_point2oct(EC_KEY_get0_group(key), EC_KEY_get0_public_key(key), POINT_CONVERSION_UNCOMPRESSED, out,
                              capacity, NULL);
}
// 1: good. `signature` is DER.
static inline int martinet_ec_verify(EVP_PKEY *whole, const unsigned char *digest, size_t digest_length,
                                     const unsigned char *signature, size_t signature_length) {
    EC_KEY *key = (EC_KEY *)EVP_PKEY_get0_EC_KEY(whole);
    if (!key) return -1;
    return ECDSA_verify(0, digest, (int)digest_length, signature, (int)signature_length, key);
}
// DER signature of a digest; its length, or 0.
static inline size_t martinet_ec_sign(EVP_PKEY *whole, const unsigned char *digest, size_t digest_length,
                                      unsigned char *out) {
    EC_KEY *key = (EC_KEY *)EVP_PKEY_get0_EC_KEY(whole);
    unsigned int length = 0;
    if (!key || ECDSA_sign(0, digest, (int)digest_length, out, &length, key) != 1) return 0;
    return length;
}
// `der`: RSAPublicKey (RFC 8017, A.1.1).
static inline EVP_PKEY *martinet_rsa_public_key(const unsigned char *der, size_t length) {
    const unsigned char *cursor = der;
    RSA *key = d2i_RSAPublicKey(NULL, &cursor, (long)length);
    EVP_PKEY *whole = key && cursor == der + length ? EVP_PKEY_new() : NULL;
    if (whole && EVP_PKEY_assign_RSA(whole, key)) return whole;
    EVP_PKEY_free(whole);
    RSA_free(key);
    return NULL;
}
#pragma GCC diagnostic pop
static inline EVP_PKEY *martinet_rsa_generate(size_t bits) { return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits); }
static inline EVP_PKEY *martinet_ed25519_generate(void) { return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"); }

static inline STACK_OF(X509) *martinet_x509_stack(void) { return sk_X509_new_null(); }
// Takes a reference of its own.
static inline int martinet_x509_push(STACK_OF(X509) *stack, X509 *certificate) {
    return X509_add_cert(stack, certificate, X509_ADD_FLAG_UP_REF);
}
static inline void martinet_x509_stack_free(STACK_OF(X509) *stack) { sk_X509_pop_free(stack, X509_free); }
