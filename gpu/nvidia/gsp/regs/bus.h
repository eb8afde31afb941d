/*
 * gpu/nvidia/gsp/regs/bus.h: PBUS scratch registers, through which the VBIOS's programs report, and the PROM window, through
 * which its chip is read. Offsets are from BAR0, in the PROM (NV_PBUS_IFR_) from its start.
 * Sources: open-gpu-kernel-modules 570.144: src/common/inc/swref/published/turing/tu102/dev_bus.h, dev_ext_devices.h;
 * error fields from kernel_gsp_frts_tu102.c.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_REGS_BUS_H
#define INGOT_GPU_NVIDIA_GSP_REGS_BUS_H

#define NV_PBUS_VBIOS_SCRATCH(i)                (0x00001400 + (i) * 4)
#define NV_PBUS_VBIOS_SCRATCH_FWSEC_FRTS         NV_PBUS_VBIOS_SCRATCH(0x0e)
#define   NV_VBIOS_FWSECLIC_FRTS_ERR_CODE         BITS(31, 16)
#define NV_PBUS_VBIOS_SCRATCH_FWSEC_SB           NV_PBUS_VBIOS_SCRATCH(0x15)
#define   NV_VBIOS_FWSECLIC_SB_ERR_CODE           BITS(15, 0)

#define NV_PROM_DATA                            0x00300000
#define NV_PROM_DATA_BYTES                      0x00100000

/* "Initialization from ROM": what the chip itself reads from the PROM before anything else; it may stand before the images. */
#define NV_PBUS_IFR_FMT_FIXED0                  0x0
#define   NV_PBUS_IFR_FMT_FIXED0_SIGNATURE_VALUE  0x4947564e /* "NVGI" */
#define NV_PBUS_IFR_FMT_FIXED1                  0x4
#define   NV_PBUS_IFR_FMT_FIXED1_VERSIONSW        BITS(15, 8)
#define   NV_PBUS_IFR_FMT_FIXED1_FIXED_DATA_SIZE  BITS(30, 16)
#define NV_PBUS_IFR_FMT_FIXED2                  0x8
#define   NV_PBUS_IFR_FMT_FIXED2_TOTAL_DATA_SIZE  BITS(19, 0)

#endif
