/*
 * runtime/libc/mbedtls_config.h: what we take from Mbed TLS 3.6: SHA-256 (FIPS 180-4) for checking weight files, and the
 * wiping of memory that it needs. The C library gives it everything else.
 */
#define MBEDTLS_SHA256_C
