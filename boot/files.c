/*
 * boot/files.c: ingot.conf and the files in and below \firmware, read from the volume the image came from through the
 * firmware's own FAT driver (UEFI 2.10, 13.4 Simple File System, 13.5 File Protocol).
 *
 * Everything is bounded, and nothing in here can stop the boot: what cannot be read is named in boot_info.
 */
#include <string.h>

#include "boot/uefi.h"
#include "kernel/format.h"

#define FIRMWARE_BYTES_MAX \
    (UINT64_C(512) * 1024 * 1024) /* all files together; NVIDIA's GSP images are 30 to 80 MB each */
#define LEAD_PAGE        (EFI_PAGE_SIZE - BOOT_FILE_LEAD)
#define FOLDER_DEPTH_MAX 4    /* \firmware\nvidia\ga102\gsp */
#define ENTRIES_MAX      1024 /* in all folders: a damaged file system may have them without end */
#define READ_CHUNK       (UINT64_C(4) * 1024 * 1024) /* some firmware fails on larger single reads */

EFI_FILE_HANDLE boot_volume_open(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    EFI_GUID loaded_guid = LOADED_IMAGE_PROTOCOL, volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
    EFI_LOADED_IMAGE *loaded = NULL;
    EFI_FILE_IO_INTERFACE *volume = NULL;
    EFI_FILE_HANDLE root = NULL;
    EFI_BOOT_SERVICES *bs = system->BootServices;
    if (EFI_ERROR(bs->HandleProtocol(handle, &loaded_guid, (void **)&loaded)) || loaded == NULL)
        return NULL;
    if (EFI_ERROR(bs->HandleProtocol(loaded->DeviceHandle, &volume_guid, (void **)&volume)) ||
        volume == NULL)
        return NULL; /* loaded over the network, or from a shell's memory */
    return EFI_ERROR(volume->OpenVolume(volume, &root)) ? NULL : root;
}

/* Up to size_bytes from the file's position; returns how many were read, which is less at the end or on an error. */
static uint64_t file_read(EFI_FILE_HANDLE file, void *to, uint64_t size_bytes, EFI_STATUS *status)
{
    uint64_t done = 0;
    *status = EFI_SUCCESS;
    while (done < size_bytes) {
        UINTN count = (UINTN)min_u64(size_bytes - done, READ_CHUNK);
        *status = file->Read(file, &count, (char *)to + done);
        if (EFI_ERROR(*status) || count == 0 || count > READ_CHUNK)
            break;
        done += count;
    }
    return done;
}

static void *pages_keep(EFI_SYSTEM_TABLE *system, struct boot_info *info, uint64_t size_bytes)
{
    EFI_PHYSICAL_ADDRESS pa = 0;
    if (EFI_ERROR(system->BootServices->AllocatePages(AllocateAnyPages, EfiLoaderData,
                                                      EFI_PAGES(size_bytes), &pa)))
        return NULL;
    if (!boot_keep(info, pa, size_bytes)) {
        system->BootServices->FreePages(pa, EFI_PAGES(size_bytes));
        return NULL;
    }
    return (void *)pa;
}

static void config_read(EFI_FILE_HANDLE root, EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    CHAR16 path[] = {'\\', 'i', 'n', 'g', 'o', 't', '.', 'c', 'o', 'n', 'f', 0};
    EFI_FILE_HANDLE file = NULL;
    info->config = "";
    EFI_STATUS status = root->Open(root, &file, path, EFI_FILE_MODE_READ, 0);
    if (status == EFI_NOT_FOUND)
        return;
    info->config_found = true;
    char *text = NULL;
    if (!EFI_ERROR(status))
        text = pages_keep(system, info, BOOT_CONFIG_MAX + 1);
    if (text == NULL) {
        format_print(info->config_error, sizeof(info->config_error),
                     "cannot be opened (UEFI status %#llx)", (unsigned long long)status);
        return;
    }
    uint64_t count = file_read(file, text, BOOT_CONFIG_MAX + 1, &status);
    if (EFI_ERROR(status))
        format_print(info->config_error, sizeof(info->config_error),
                     "read error after %llu bytes (UEFI status %#llx)", (unsigned long long)count,
                     (unsigned long long)status);
    if (count > BOOT_CONFIG_MAX) {
        format_print(info->config_error, sizeof(info->config_error),
                     "larger than %d KiB: the rest is ignored", BOOT_CONFIG_MAX / 1024);
        count = BOOT_CONFIG_MAX;
        while (count > 0 && text[count - 1] != '\n')
            count--; /* no half line */
    }
    text[count] = '\0';
    info->config = text;
    info->config_bytes = (uint32_t)count;
    file->Close(file);
}

/* One directory entry; the name follows the fixed part. 8 + 255 characters are more than FAT allows. */
union entry {
    EFI_FILE_INFO info;
    char bytes[sizeof(EFI_FILE_INFO) + 256 * sizeof(CHAR16)];
};

/* Append a name from a directory to path, as far as there is room for it; false: there is not. */
static bool path_append(char *path, unsigned path_bytes, const CHAR16 *name)
{
    unsigned at = 0, n = 0;
    while (path[at] != '\0')
        at++;
    for (; at + 1 < path_bytes && name[n] != 0; n++)
        path[at++] = name[n] < 127 ? (char)name[n] : '?';
    path[at] = '\0';
    return name[n] == 0;
}

struct walk {
    EFI_SYSTEM_TABLE *system;
    struct boot_info *info;
    uint64_t room; /* for files, in bytes */
    unsigned entries_left;
};

static void firmware_file_read(struct walk *walk, EFI_FILE_HANDLE folder, const char *path,
                               union entry *entry)
{
    struct boot_info *info = walk->info;
    struct boot_firmware_file *out = &info->firmware[info->firmware_count];
    format_print(out->name, sizeof(out->name), "%s", path);

    const char *problem = NULL;
    EFI_FILE_HANDLE file = NULL;
    void *data = NULL;
    if (!path_append(out->name, sizeof(out->name), entry->info.FileName))
        problem = "its name is too long";
    else if (entry->info.FileSize > walk->room)
        problem = "no room for it (512 MiB in all)";
    else if (EFI_ERROR(folder->Open(folder, &file, entry->info.FileName, EFI_FILE_MODE_READ, 0)))
        problem = "cannot be opened";
    else if ((data = pages_keep(walk->system, info, entry->info.FileSize + LEAD_PAGE)) == NULL)
        problem = "no memory";
    else
        data = (char *)data + LEAD_PAGE;
    if (problem == NULL) {
        EFI_STATUS status;
        if (file_read(file, data, entry->info.FileSize, &status) != entry->info.FileSize)
            problem = "cannot be read to its end";
    }
    if (file != NULL)
        file->Close(file);
    if (problem != NULL) {
        format_print(info->firmware_error, sizeof(info->firmware_error), "firmware file %s: %s",
                     out->name, problem);
        return;
    }
    out->data = data;
    out->size_bytes = entry->info.FileSize;
    walk->room -= entry->info.FileSize;
    info->firmware_count++;
}

/* Read all files of the folder and, with the folder's name before theirs, those of the folders in it. */
static void firmware_folder_read(struct walk *walk, EFI_FILE_HANDLE folder, const char *path,
                                 unsigned depth)
{
    struct boot_info *info = walk->info;
    while (walk->entries_left > 0) {
        static union entry entry; /* nobody needs it once a folder in here is open */
        UINTN size = sizeof(entry) - sizeof(CHAR16);
        memset(&entry, 0, sizeof(entry));
        EFI_STATUS status = folder->Read(folder, &size, &entry);
        if (EFI_ERROR(status) || size == 0)
            return; /* the end, or a damaged directory: what is missing is reported by whoever looks for it */
        walk->entries_left--;
        if (entry.info.Attribute & EFI_FILE_DIRECTORY) {
            char below[sizeof(info->firmware[0].name)];
            EFI_FILE_HANDLE sub = NULL;
            format_print(below, sizeof(below), "%s", path);
            if (entry.info.FileName[0] == '.' || depth + 1 == FOLDER_DEPTH_MAX ||
                !path_append(below, sizeof(below), entry.info.FileName) ||
                !path_append(below, sizeof(below), (CHAR16[]){'/', 0}) ||
                EFI_ERROR(folder->Open(folder, &sub, entry.info.FileName, EFI_FILE_MODE_READ, 0)))
                continue;
            firmware_folder_read(walk, sub, below, depth + 1);
            sub->Close(sub);
        } else if (entry.info.FileSize != 0) {
            if (info->firmware_count == BOOT_FIRMWARE_MAX) {
                format_print(info->firmware_error, sizeof(info->firmware_error),
                             "more than %d firmware files: the rest is ignored", BOOT_FIRMWARE_MAX);
                return;
            }
            if (walk->room == FIRMWARE_BYTES_MAX)
                boot_say(walk->system, "Ingot: reading \\firmware ...");
            firmware_file_read(walk, folder, path, &entry);
        }
    }
}

static void firmware_read(EFI_FILE_HANDLE root, EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    CHAR16 path[] = {'\\', 'f', 'i', 'r', 'm', 'w', 'a', 'r', 'e', 0};
    EFI_FILE_HANDLE folder = NULL;
    if (EFI_ERROR(root->Open(root, &folder, path, EFI_FILE_MODE_READ, 0)))
        return; /* there need not be any */
    struct walk walk = {system, info, FIRMWARE_BYTES_MAX, ENTRIES_MAX};
    firmware_folder_read(&walk, folder, "", 0);
    folder->Close(folder);
}

void boot_files_read(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system, struct boot_info *info)
{
    info->config = "";
    EFI_FILE_HANDLE root = boot_volume_open(handle, system);
    if (root == NULL)
        return;
    config_read(root, system, info);
    firmware_read(root, system, info);
    root->Close(root);
}
