/*
 * nvme/quirks.c: controllers that need more care than the specification says. Sources: the published tables of the
 * Linux, SPDK and FreeBSD drivers; none of these drives was on our bench.
 */
#include "nvme/nvme_internal.h"

static const struct {
    uint16_t vendor_id, device_id;
    uint32_t quirks;
} quirk_table[] = {
    {0x8086, 0x0953, NVME_QUIRK_DELAY_BEFORE_START}, /* Intel P3500/P3600/P3700 */
    {0x8086, 0x0a53, NVME_QUIRK_DELAY_BEFORE_START}, /* Intel P3520 */
    {0x8086, 0x5845,
     NVME_QUIRK_NO_NAMESPACE_LIST | NVME_QUIRK_NO_WRITE_ZEROES |
         NVME_QUIRK_NO_SGL},                         /* QEMU before 6 */
    {0x1bb1, 0x0100, NVME_QUIRK_DELAY_BEFORE_READY}, /* Seagate Nytro */
    {0x1c58, 0x0003, NVME_QUIRK_DELAY_BEFORE_READY}, /* HGST SN100 */
    {0x1c58, 0x0023, NVME_QUIRK_DELAY_BEFORE_READY}, /* WDC SN200 */
    {0x1c5f, 0x0540, NVME_QUIRK_DELAY_BEFORE_READY}, /* Memblaze Pblaze4 */
    {0x144d, 0xa821, NVME_QUIRK_DELAY_BEFORE_READY}, /* Samsung PM1725 */
    {0x144d, 0xa822,
     NVME_QUIRK_DELAY_BEFORE_READY | NVME_QUIRK_NO_WRITE_ZEROES}, /* Samsung PM1725a */
    {0x1d97, 0x1602, NVME_QUIRK_DELAY_BEFORE_READY},              /* Lexar NM790 */
    {0x1e4b, 0x1602, NVME_QUIRK_DELAY_BEFORE_READY},              /* MAXIO MAP1602 */
    {0x1987, 0x5019, NVME_QUIRK_NO_WRITE_ZEROES},                 /* Phison E19 */
    {0x106b, 0x2001, NVME_QUIRK_DEPTH_ONE}, /* Apple, MacBook 2015: deeper queues reset it */
};

uint32_t nvme_quirks_of(uint16_t vendor_id, uint16_t device_id)
{
    for (size_t i = 0; i < ARRAY_COUNT(quirk_table); i++)
        if (quirk_table[i].vendor_id == vendor_id && quirk_table[i].device_id == device_id)
            return quirk_table[i].quirks;
    return 0;
}
