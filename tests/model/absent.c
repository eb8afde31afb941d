/* tests/model/absent.c: weak stand-ins until the parts that belong here land; each one says that it is missing. */
#include "tests/model/parts.h"

#define ABSENT __attribute__((weak))

ABSENT void host_doorbell(struct model *m, uint32_t token)
{
    refuse(m, "host.c is not there");
}
ABSENT int host_channel_add(struct model *m, const struct host_channel *channel)
{
    return -38;
}
ABSENT void host_channel_remove(struct model *m, uint32_t runlist, uint32_t channel_id)
{
}
ABSENT void host_channel_schedule(struct model *m, uint32_t runlist, uint32_t channel_id, bool on)
{
}
ABSENT bool host_channel_object(struct model *m, uint32_t runlist, uint32_t channel_id,
                                uint32_t class_id)
{
    return false;
}
ABSENT void host_channel_set_page_directory(struct model *m, uint32_t runlist, uint32_t channel_id,
                                            enum aperture aperture, uint64_t page_directory)
{
}
ABSENT void host_stop(struct model *m)
{
}
ABSENT enum mmu_fault mmu_translate(struct model *m, enum aperture directory_aperture,
                                    uint64_t page_directory, uint64_t gva, bool is_write,
                                    struct translation *out)
{
    return MMU_FAULT_PDE;
}
ABSENT void mmu_invalidate(struct model *m, enum aperture directory_aperture,
                           uint64_t page_directory, uint32_t flags)
{
}
ABSENT int mmu_init(struct model *m)
{
    return 0;
}
ABSENT int host_init(struct model *m)
{
    return 0;
}
ABSENT int compute_init(struct model *m, const char *cubins)
{
    return 0;
}
ABSENT void wpr2_set(struct model *m, uint64_t start, uint64_t end)
{
}
ABSENT void gsp_core_halt(struct model *m)
{
}
