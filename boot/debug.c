/*
 * boot/debug.c: wait for a debugger. A file \debug-wait beside ingot.conf asks for it (images/gdb puts it
 * there): the image then says where it lies and waits until the debugger sets boot_debug_go, ten minutes at
 * most. Without the file this costs one look.
 */
#include "boot/uefi.h"
#include "kernel/format.h"

#define WAIT_MS 600000

volatile uint32_t boot_debug_go; /* set by the debugger */

void boot_debug_wait(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    EFI_FILE_HANDLE root = boot_volume_open(handle, system), file;
    if (root == NULL)
        return;
    EFI_STATUS status = root->Open(root, &file, (CHAR16 *)u"debug-wait", EFI_FILE_MODE_READ, 0);
    root->Close(root);
    if (EFI_ERROR(status))
        return;
    file->Close(file);

    char text[96];
    format_print(text, sizeof(text), "Ingot: image at 0x%llx waits for a debugger",
                 (unsigned long long)(uint64_t)image_base);
    boot_say(system, text);
    for (unsigned waited_ms = 0; waited_ms < WAIT_MS && !boot_debug_go; waited_ms++)
        system->BootServices->Stall(1000);
}
