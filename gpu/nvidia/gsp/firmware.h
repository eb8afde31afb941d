/*
 * gpu/nvidia/gsp/firmware.h: the firmware files of one GPU, found by name and taken apart.
 *
 * The files are those of linux-firmware (Debian: firmware-nvidia-graphics), release 570.144, on the ESP under the same paths:
 * \firmware\nvidia\ga102\gsp\booter_load-570.144.bin. `make image GPU=ga102` copies them. The program of the GSP is one file
 * for many chips: \firmware\nvidia\ga102\gsp\gsp-570.144.bin serves all from GA102 on, tu102's serves Turing and GA100.
 *
 * The parsers are pure functions of bytes that nobody has checked: every offset, size and count is. What they return points
 * into the file, which stays as it is as long as the machine runs.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_FIRMWARE_H
#define INGOT_GPU_NVIDIA_GSP_FIRMWARE_H

#include "gpu/nvidia/gsp/fwsec.h"
#include "gpu/nvidia/gsp/hw.h"

#define GSP_FIRMWARE_VERSION "570.144"

/* Bytes of a file, or a part of them. */
struct gsp_bytes {
    const uint8_t *data;
    uint64_t bytes;
};

/*
 * The file nvidia/FOLDER/gsp/KIND-570.144.bin, for this chip's folder: "booter_load", "booter_unload", "bootloader", "gsp",
 * "fmc", "gen_bootloader". -ENOENT: hw->error names the file and the command that adds it.
 */
int gsp_firmware_file(struct hw *hw, const char *kind, struct gsp_bytes *out);

/* 0, or -EINVAL and *problem says what is wrong with the file. */

/*
 * The GSP's program: an ELF file with a section for the image and one with a signature for each family of chips. The image
 * begins at byte 64 of the file, so that boot_file() has it at a page's start and the GSP can read it where it is.
 */
struct gsp_program {
    struct gsp_bytes image, signature;
};
/* folder: the chip's ("ad102"); it selects the signature. */
int gsp_program_parse(struct gsp_bytes file, const char *folder, struct gsp_program *out, const char **problem);

/* The boot loader that starts the program: a RISC-V image. The offsets lie within it. */
struct gsp_boot_loader {
    struct gsp_bytes image;
    uint32_t code_offset, data_offset, manifest_offset, app_version;
};
int gsp_boot_loader_parse(struct gsp_bytes file, struct gsp_boot_loader *out, const char **problem);

/*
 * Code that SEC2 runs in heavy-secure mode: booter_load, booter_unload. booter.c puts the signature that suits the chip's
 * fuses at signature_at in a copy of the image. Offsets are into the image.
 */
struct gsp_secure_code {
    struct gsp_bytes image;
    const uint8_t *signatures; /* signature_count of signature_bytes each, the one for the highest fuse version first */
    uint32_t signature_count, signature_bytes, signature_at;
    uint32_t fuse_version, engine_id_mask, ucode_id;
    uint32_t os_code_offset, os_code_bytes; /* not secure: what runs first on Turing and GA100 */
    uint32_t app_code_offset, app_code_bytes;
    uint32_t data_offset, data_bytes;
};
int gsp_secure_code_parse(struct gsp_bytes file, struct gsp_secure_code *out, const char **problem);

/* gen_bootloader, through which Turing's falcons load FWSEC. */
int gsp_loader_parse(struct gsp_bytes file, struct fwsec_loader *out, const char **problem);

/* The GSP's first stage on Hopper and Blackwell, which the FSP checks. */
struct gsp_fmc {
    struct gsp_bytes image, hash, public_key, signature;
};
#define GSP_FMC_HASH_BYTES 48     /* SHA-384 */
#define GSP_FMC_KEY_BYTES_MAX 384 /* RSA-3072; an elliptic curve's point takes less */
int gsp_fmc_parse(struct gsp_bytes file, struct gsp_fmc *out, const char **problem);

/* All of them for one chip; what it does not need is zero. */
struct gsp_firmware {
    struct gsp_program program;
    struct gsp_boot_loader boot_loader;
    struct gsp_secure_code booter_load, booter_unload; /* HW_BOOT_SEC2 */
    struct fwsec_loader fwsec_loader;                  /* HW_FALCON_TU102 */
    struct gsp_fmc fmc;                                /* HW_BOOT_FSP */
};
/* 0, -ENOENT or -EINVAL; hw->error says which file. The files stay where they are: nothing has to be freed. */
int gsp_firmware_load(struct hw *hw, struct gsp_firmware *out);

/*
 * Tables of the program's pages as the GSP reads them: level 0 has one entry, the address of level 1; an entry of level 1 is
 * the address of a page of level 2; an entry of level 2 that of a page of the program. gsp_radix3_bytes() is what the tables
 * take, level 0 first; 0: more than 512 pages of level 2 (1 GiB). gsp_radix3_build() fills them in for a contiguous program
 * that lies at a page's start, program_dma. A last page that is not full of it is taken from tail_dma instead.
 */
uint64_t gsp_radix3_bytes(uint64_t program_bytes);
void gsp_radix3_build(void *tables, uint64_t tables_dma, uint64_t program_dma, uint64_t program_bytes,
                      uint64_t tail_dma);

#endif
