/*
 * boot/token.c: the access token, kept by the firmware in a variable that only boot services can reach (UEFI
 * 2.10, 8.2).
 *
 * Made at the first boot: 128 random bits as 32 hexadecimal digits. It never goes into the log.
 */
#include <string.h>

#include "boot/uefi.h"
#include "kernel/chacha20.h"

#define TOKEN_VENDOR {0xb651adb1, 0x55a6, 0x4d95, {0xbe, 0xcc, 0x00, 0x69, 0xd8, 0xe6, 0xe3, 0xe4}}

static bool token_is_valid(const char *token, UINTN length)
{
    if (length != BOOT_TOKEN_LENGTH)
        return false;
    for (UINTN i = 0; i < length; i++) {
        if (!((token[i] >= '0' && token[i] <= '9') || (token[i] >= 'a' && token[i] <= 'f')))
            return false;
    }
    return true;
}

void boot_token_read(EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    EFI_GUID vendor = TOKEN_VENDOR;
    CHAR16 name[] = {'I', 'n', 'g', 'o', 't', 'T', 'o', 'k', 'e', 'n', 0};
    const UINT32 attributes = EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS;
    char stored[BOOT_TOKEN_LENGTH];
    UINTN length = sizeof(stored);
    EFI_STATUS status = system->RuntimeServices->GetVariable(name, &vendor, NULL, &length, stored);
    if (!EFI_ERROR(status) && token_is_valid(stored, length)) {
        memcpy(info->token, stored, BOOT_TOKEN_LENGTH);
        info->token_is_stored = true;
        return;
    }

    /* A stream of its own from the seed: the kernel's generator uses the same seed with another nonce. */
    uint32_t key[8], block[16];
    static const uint32_t nonce[3] = {0x656b6f74, 0x6e, 0}; /* "token" */
    memcpy(key, info->seed, sizeof(key));
    chacha20_block(key, 0, nonce, block);
    for (int i = 0; i < BOOT_TOKEN_LENGTH; i++)
        info->token[i] = "0123456789abcdef"[block[i / 8] >> i % 8 * 4 & 15];
    info->token_is_new = true;
    status = system->RuntimeServices->SetVariable(name, &vendor, attributes, BOOT_TOKEN_LENGTH,
                                                  info->token);
    info->token_is_stored = !EFI_ERROR(status);
}
