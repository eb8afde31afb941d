/*
 * tests/fuzz/fuzz_safetensors.c: headers of safetensors files. The input is two bytes, the size of the data, then the
 * JSON; an input whose first byte is FFh is the whole file instead, length field and all.
 */
#include "tests/fuzz/weights_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_log_level(LOG_ERROR);
    if (size < 3)
        return 0;
    if (data[0] == 0xff) {
        struct fuzz_file file = {data + 1, size - 1, size - 1};
        parse_and_check(&file);
        return 0;
    }
    uint64_t header_bytes = size - 2, data_bytes = (uint64_t)data[0] | (uint64_t)data[1] << 8;
    uint8_t *head = malloc(8 + header_bytes);
    for (unsigned i = 0; i < 8; i++)
        head[i] = (uint8_t)(header_bytes >> (8 * i));
    memcpy(head + 8, data + 2, header_bytes);
    struct fuzz_file file = {head, 8 + header_bytes, 8 + header_bytes + data_bytes};
    parse_and_check(&file);
    free(head);
    return 0;
}
