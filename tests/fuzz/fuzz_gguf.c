/*
 * tests/fuzz/fuzz_gguf.c: headers of GGUF files. The input is three bytes, how much data follows the header, then the
 * file's head.
 */
#include "tests/fuzz/weights_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_log_level(LOG_ERROR);
    if (size < 3)
        return 0;
    uint64_t more = (uint64_t)data[0] | (uint64_t)data[1] << 8 | (uint64_t)data[2] << 16;
    struct fuzz_file file = {data + 3, size - 3, size - 3 + more};
    parse_and_check(&file);
    return 0;
}
