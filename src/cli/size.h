/* Bytes for people. */
#pragma once

#include <stdint.h>

/* 4.0 GiB; whole bytes below 1 KiB. */
void print_size(uint64_t bytes, char out[32]);
