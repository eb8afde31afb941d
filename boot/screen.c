/*
 * boot/screen.c: the frame buffer of the Graphics Output Protocol (UEFI 2.10, 12.9), in the mode the firmware chose.
 *
 * A mode without a linear frame buffer of 32-bit pixels counts as no screen. The screen is cleared here, by the
 * firmware.
 */
#include "boot/uefi.h"

#define SCREEN_SIDE_MAX 16384

/* The position of an 8-bit channel given by its mask; false when the mask is not 8 adjoining bits. */
static bool channel_shift(uint32_t mask, uint8_t *shift)
{
    if (mask == 0)
        return false;
    *shift = (uint8_t)__builtin_ctz(mask);
    return mask >> *shift == 0xff;
}

void boot_screen_find(EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = NULL;
    /* The console's own screen first: with several cards the first GOP may be one that nobody looks at. */
    if (system->ConsoleOutHandle == NULL || EFI_ERROR(system->BootServices->HandleProtocol(
                                                system->ConsoleOutHandle, &guid, (void **)&gop)))
        gop = NULL;
    if (gop == NULL && EFI_ERROR(system->BootServices->LocateProtocol(&guid, NULL, (void **)&gop)))
        return;
    if (gop == NULL || gop->Mode == NULL || gop->Mode->Info == NULL)
        return;

    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = gop->Mode->Info;
    struct boot_screen screen = {
        .pa = gop->Mode->FrameBufferBase,
        .width = mode->HorizontalResolution,
        .height = mode->VerticalResolution,
        .pitch_pixels = mode->PixelsPerScanLine,
    };
    switch (mode->PixelFormat) {
    case PixelRedGreenBlueReserved8BitPerColor:
        screen.red_shift = 0, screen.green_shift = 8, screen.blue_shift = 16;
        break;
    case PixelBlueGreenRedReserved8BitPerColor:
        screen.red_shift = 16, screen.green_shift = 8, screen.blue_shift = 0;
        break;
    case PixelBitMask:
        if (!channel_shift(mode->PixelInformation.RedMask, &screen.red_shift) ||
            !channel_shift(mode->PixelInformation.GreenMask, &screen.green_shift) ||
            !channel_shift(mode->PixelInformation.BlueMask, &screen.blue_shift))
            return;
        break;
    default:
        return; /* PixelBltOnly: no memory to write to */
    }
    if (screen.pa == 0 || screen.width == 0 || screen.height == 0 ||
        screen.width > SCREEN_SIDE_MAX || screen.height > SCREEN_SIDE_MAX ||
        screen.pitch_pixels < screen.width || screen.pitch_pixels > SCREEN_SIDE_MAX)
        return;
    screen.size_bytes = (uint64_t)screen.pitch_pixels * screen.height * 4;
    if (gop->Mode->FrameBufferSize < screen.size_bytes)
        return;

    EFI_GRAPHICS_OUTPUT_BLT_PIXEL black = {0, 0, 0, 0};
    gop->Blt(gop, &black, EfiBltVideoFill, 0, 0, 0, 0, screen.width, screen.height, 0);
    info->screen = screen;
}
