/*
 * gpu/nvidia/engines.c: names of a GPU's engines, for people. Numbers: NV2080_ENGINE_TYPE_ of open-gpu-kernel-modules
 * 570.144, cl2080_notification.h; that a copy engine can decompress is left out of its name.
 */
#include <stdio.h>

#include "gpu/nvidia/device.h"

static const struct {
    uint32_t first, count,
        number; /* engine types first to first + count - 1 are NAMEnumber and on */
    const char *name;
} ranges[] = {
    {0x01, 8, 0, "graphics"}, {0x09, 10, 0, "copy"}, {0x34, 10, 10, "copy"}, {0x40, 20, 0, "copy"},
    {0x13, 8, 0, "nvdec"},    {0x1b, 3, 0, "nvenc"}, {0x3f, 1, 3, "nvenc"},  {0x2b, 8, 0, "nvjpg"},
    {0x33, 1, 0, "ofa"},      {0x3e, 1, 1, "ofa"},   {0x26, 1, 2, "sec"},    {0x24, 1, 0, "vic"},
};

void nvidia_engines_name(struct gpu_device_info *info, const uint32_t *types, uint32_t count)
{
    info->engine_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (size_t r = 0; r < ARRAY_COUNT(ranges); r++) {
            uint32_t index = types[i] - ranges[r].first;
            if (index < ranges[r].count && info->engine_count < GPU_ENGINES_MAX)
                snprintf(info->engines[info->engine_count++], sizeof(info->engines[0]), "%s%u",
                         ranges[r].name, ranges[r].number + index);
        }
    }
}
