/*
 * tests/model/host.c: the host engine: channels with their instance blocks, doorbells, and the order in which things run.
 *
 * A doorbell makes a channel read GP_PUT from its USERD. Then its methods run as far as they go (pbdma.c), and after them a
 * step of each of its engines.
 *
 * Sources: open-gpu-doc manuals/turing/tu104/dev_ram.ref.txt (NV_RAMIN, NV_RAMFC, NV_RAMUSERD); OGKM
 * src/common/inc/swref/published/turing/tu102/dev_vm.h and blackwell/gb202/dev_vm.h (NV_VIRTUAL_FUNCTION_DOORBELL).
 */
#include "tests/model/engines.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX                 128
#define SLICE_NS                     UINT64_C(1000000)
#define POLL_NS                      UINT64_C(100000) /* how often a channel looks at the semaphore that it waits for */

/* Instance block (dev_ram.ref.txt): 4 KiB; RAMFC, the host's part, is its first 512 bytes. */
#define RAMIN_BYTES                  4096
#define RAMIN_PAGE_DIR_BASE_LO       (128 * 4)
#define RAMIN_PAGE_DIR_BASE_HI       (129 * 4)
#define PAGE_DIR_BASE_TARGET         mask(1, 0) /* 0 video memory, 2 coherent system memory */
#define PAGE_DIR_BASE_VOL            mask(2, 2)
#define USE_VER2_PT_FORMAT           mask(10, 10)
#define BIG_PAGE_SIZE_64KB           mask(11, 11)
#define RAMIN_SC_PDB_VALID           (166 * 4)
#define RAMIN_SC_PAGE_DIR_BASE_LO(i) ((168 + (i) * 4) * 4)
#define RAMFC_GP_PUT                 (0 * 4)
#define RAMFC_USERD                  (2 * 4)
#define RAMFC_USERD_HI               (3 * 4)
#define RAMFC_SIGNATURE              (4 * 4)
#define RAMFC_GP_GET                 (5 * 4)
#define RAMFC_GP_BASE                (18 * 4)
#define RAMFC_GP_BASE_HI             (19 * 4) /* 7..0 address, 20..16 log2 of the entries */
#define RAMFC_SET_CHANNEL_INFO       (63 * 4)
#define SIGNATURE_HW                 0xface /* NV_PPBDMA_SIGNATURE_HW_VALID */

#define USERD_BYTES                  512
#define USERD_GP_PUT                 (35 * 4)

struct host {
    struct channel *channels[CHANNELS_MAX];
    bool is_working, is_polling;
    bool is_inside; /* a slice is running: channels that go now are freed behind it */
    struct channel *leaving;
};

int host_init(struct model *m)
{
    m->host = calloc(1, sizeof(*m->host));
    return m->host ? 0 : -ENOMEM;
}

uint64_t gpu_time_ns(struct model *m)
{
    /* dev_timer.ref.txt: NV_PTIMER_TIME_1, _TIME_0; the upper half again, because it may have moved */
    uint32_t high, low;
    do {
        high = reg_read(m, 0x9410);
        low = reg_read(m, 0x9400);
    } while (high != reg_read(m, 0x9410));
    return (uint64_t)high << 32 | low;
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static void kill_group(struct model *m, uint32_t runlist, uint32_t group)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        struct channel *c = m->host->channels[i];
        if (!c || c->is.runlist != runlist || c->is.group != group)
            continue;
        c->is_dead = true;
        compute_drop(c);
        c->copy.get = c->copy.put;
    }
}

static enum outcome fault_out(struct model *m, struct channel *c, const struct host_fault *f)
{
    note(m, "channel %u of runlist %u: %s", f->channel_id, f->runlist, f->text);
    kill_group(m, c->is.runlist, c->is.group);
    host_fault_event(m, f);
    return FAULT;
}

enum outcome engine_fault(struct model *m, struct channel *c, uint32_t reason, const char *client,
                          const char *fmt, ...)
{
    char text[256];
    va_list list;
    va_start(list, fmt);
    vsnprintf(text, sizeof(text), fmt, list);
    va_end(list);
    return fault_out(m, c,
                     &(struct host_fault){.runlist = c->is.runlist,
                                          .channel_id = c->is.channel_id,
                                          .reason = reason,
                                          .client = client,
                                          .text = text});
}

enum outcome engine_mmu_fault(struct model *m, struct channel *c, const char *client,
                              const struct violation *why)
{
    char text[256];
    snprintf(text, sizeof(text),
             "MMU Fault: %s, faulted @ 0x%llx. Fault is of type %s ACCESS_TYPE_VIRT_%s", client,
             (unsigned long long)why->gva, mmu_fault_name(why->fault),
             why->is_write ? "WRITE" : "READ");
    return fault_out(m, c,
                     &(struct host_fault){.runlist = c->is.runlist,
                                          .channel_id = c->is.channel_id,
                                          .reason = RC_MMU_FAULT,
                                          .is_mmu = true,
                                          .mmu = why->fault,
                                          .gva = why->gva,
                                          .is_write = why->is_write,
                                          .client = client,
                                          .text = text});
}

/* ---- channels -------------------------------------------------------------------------------------------------- */

static struct channel *channel_find(struct model *m, uint32_t runlist, uint32_t channel_id)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        struct channel *c = m->host->channels[i];
        if (c && c->is.runlist == runlist && c->is.channel_id == channel_id)
            return c;
    }
    return NULL;
}

static void put32(uint8_t *block, unsigned offset, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    memcpy(block + offset, &word, 4);
}

/* What GSP-RM writes of a page directory into an instance block, for the channel and for its subcontext 0. */
static void put_page_directory(const struct model *m, const struct host_channel *is, uint8_t *block)
{
    uint64_t low = (is->page_directory & mask(31, 12)) | BIG_PAGE_SIZE_64KB |
                   (m->chip->mmu_version == 2 ? USE_VER2_PT_FORMAT : 0) |
                   (is->page_directory_aperture == APERTURE_SYSTEM ? 2 | PAGE_DIR_BASE_VOL : 0);
    put32(block, RAMIN_PAGE_DIR_BASE_LO, low);
    put32(block, RAMIN_PAGE_DIR_BASE_HI, is->page_directory >> 32);
    put32(block, RAMIN_SC_PAGE_DIR_BASE_LO(0), low);
    put32(block, RAMIN_SC_PAGE_DIR_BASE_LO(0) + 4, is->page_directory >> 32);
    put32(block, RAMIN_SC_PDB_VALID, 1);
}

/* The channel is switched in: its address space is what the instance block in memory says. */
static bool load_space(struct model *m, struct channel *c)
{
    uint32_t base[2];
    if (!memory_read(m, c->is.instance_aperture, c->is.instance + RAMIN_PAGE_DIR_BASE_LO, base, 8))
        return false;
    uint32_t target = (uint32_t)(base[0] & PAGE_DIR_BASE_TARGET);
    if (target == 1) {
        refuse(m, "host: channel %u: the instance block at 0x%llx names no page directory",
               c->is.channel_id, (unsigned long long)c->is.instance);
        return false;
    }
    c->space.aperture = target == 0 ? APERTURE_VRAM : APERTURE_SYSTEM;
    c->space.directory = (uint64_t)base[1] << 32 | (base[0] & mask(31, 12));
    return true;
}

static unsigned log2_of(uint32_t value)
{
    return 31 - (unsigned)__builtin_clz(value);
}

static const char *check_channel(const struct model *m, const struct host_channel *is)
{
    bool is_long = m->chip->family >= HOPPER;
    if (is->channel_class != m->chip->channel_class)
        return "the chip has no channels of this class";
    if (is->gpfifo_entries < 2 || is->gpfifo_entries > 1u << 31 ||
        (is->gpfifo_entries & (is->gpfifo_entries - 1)))
        return "the number of GPFIFO entries is no power of two";
    if (is->gpfifo_gva % 8 || is->gpfifo_gva >> (is_long ? 57 : 40))
        return "the GPFIFO's address is not one that the PBDMA has bits for";
    if (is->instance % RAMIN_BYTES)
        return "the instance block is not aligned to 4 KiB";
    if (is->userd % USERD_BYTES)
        return "USERD is not aligned to 512 bytes";
    if (is->page_directory % 4096)
        return "the page directory is not aligned to 4 KiB";
    return NULL;
}

int host_channel_add(struct model *m, const struct host_channel *is)
{
    const char *problem = check_channel(m, is);
    if (!problem && channel_find(m, is->runlist, is->channel_id))
        problem = "there is a channel of this number on the runlist";
    if (problem) {
        refuse(m, "host: channel %u of runlist %u: %s", is->channel_id, is->runlist, problem);
        return -EINVAL;
    }
    unsigned slot = 0;
    while (slot < CHANNELS_MAX && m->host->channels[slot])
        slot++;
    struct channel *c = slot < CHANNELS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return -ENOMEM;
    c->is = *is;

    uint8_t block[RAMIN_BYTES] = {0};
    put32(block, RAMFC_SIGNATURE, SIGNATURE_HW);
    put32(block, RAMFC_USERD, is->userd | (is->userd_aperture == APERTURE_SYSTEM ? 2 : 0));
    put32(block, RAMFC_USERD_HI, is->userd >> 32);
    put32(block, RAMFC_GP_BASE, is->gpfifo_gva);
    put32(block, RAMFC_GP_BASE_HI,
          bits(is->gpfifo_gva, 39, 32) | (uint64_t)log2_of(is->gpfifo_entries) << 16);
    put32(block, RAMFC_SET_CHANNEL_INFO, is->channel_id << 16);
    put_page_directory(m, is, block);
    if (!memory_write(m, is->instance_aperture, is->instance, block, sizeof(block))) {
        refuse(m, "host: channel %u: no memory at its instance block", is->channel_id);
        free(c);
        return -EINVAL;
    }
    c->is_used = true;
    m->host->channels[slot] = c;
    trace(
        m,
        "host: channel %u of runlist %u: GPFIFO 0x%llx, %u entries, instance 0x%llx, USERD 0x%llx",
        is->channel_id, is->runlist, (unsigned long long)is->gpfifo_gva, is->gpfifo_entries,
        (unsigned long long)is->instance, (unsigned long long)is->userd);
    return 0;
}

static void free_leaving(struct host *host)
{
    while (host->leaving) {
        struct channel *next = host->leaving->next;
        compute_free(host->leaving);
        free(host->leaving);
        host->leaving = next;
    }
}

void host_channel_remove(struct model *m, uint32_t runlist, uint32_t channel_id)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        struct channel *c = m->host->channels[i];
        if (!c || c->is.runlist != runlist || c->is.channel_id != channel_id)
            continue;
        compute_drop(c);
        c->is_dead = true;
        m->host->channels[i] = NULL;
        c->next = m->host->leaving;
        m->host->leaving = c;
        if (!m->host->is_inside)
            free_leaving(m->host);
        trace(m, "host: channel %u of runlist %u is gone", channel_id, runlist);
        return;
    }
}

static bool host_slice(struct model *m, void *arg);
static void host_poll(struct model *m, void *arg);

static void work_start(struct model *m)
{
    if (m->host->is_working)
        return;
    m->host->is_working = true;
    work_add(m, host_slice, NULL);
}

static void host_poll(struct model *m, void *arg)
{
    (void)arg;
    m->host->is_polling = false;
    work_start(m);
}

void host_channel_schedule(struct model *m, uint32_t runlist, uint32_t channel_id, bool on)
{
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c)
        return;
    c->is_scheduled = on;
    if (on && load_space(m, c))
        work_start(m);
}

bool host_channel_object(struct model *m, uint32_t runlist, uint32_t channel_id, uint32_t class_id)
{
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c || c->class_count == sizeof(c->classes) / sizeof(c->classes[0]))
        return false;
    bool is_compute = class_id == m->chip->compute_class;
    if (class_id != m->chip->copy_class && !(is_compute && c->is.engine == ENGINE_GRAPHICS))
        return false;
    c->classes[c->class_count++] = class_id;
    return true;
}

void host_channel_set_page_directory(struct model *m, uint32_t runlist, uint32_t channel_id,
                                     enum aperture aperture, uint64_t page_directory)
{
    struct channel *c = channel_find(m, runlist, channel_id);
    if (!c)
        return;
    c->is.page_directory_aperture = aperture;
    c->is.page_directory = page_directory;
    uint8_t block[RAMIN_BYTES];
    if (!memory_read(m, c->is.instance_aperture, c->is.instance, block, sizeof(block)))
        return;
    put_page_directory(m, &c->is, block);
    memory_write(m, c->is.instance_aperture, c->is.instance, block, sizeof(block));
    load_space(m, c);
}

void host_stop(struct model *m)
{
    for (unsigned i = 0; i < CHANNELS_MAX; i++)
        if (m->host->channels[i])
            host_channel_remove(m, m->host->channels[i]->is.runlist,
                                m->host->channels[i]->is.channel_id);
    timer_cancel(m, host_poll, NULL);
    work_cancel(m, host_slice, NULL);
    m->host->is_working = m->host->is_polling = false;
    mmu_invalidate(m, APERTURE_VRAM, 0, 0);
}

#define DOORBELL_RUNLIST_DOORBELL mask(30, 30) /* GB20x: without it a doorbell is not heard */

/* NV_VIRTUAL_FUNCTION_DOORBELL: 11..0 VECTOR (the channel), 22..16 RUNLIST_ID */
void host_doorbell(struct model *m, uint32_t token)
{
    uint32_t channel_id = token & 0xfff, runlist = (uint32_t)bits(token, 22, 16);
    struct channel *c = channel_find(m, runlist, channel_id);
    uint64_t enable = m->chip->sm >= 120 ? DOORBELL_RUNLIST_DOORBELL : 0;
    if ((token & DOORBELL_RUNLIST_DOORBELL) != enable) {
        refuse(m, "host: a doorbell with 0x%08x: bit 30 is %s", token,
               enable ? "not set, so no runlist hears it" : "reserved");
        if (enable)
            return;
    }
    if (!c || (token & ~(mask(11, 0) | mask(22, 16) | DOORBELL_RUNLIST_DOORBELL))) {
        refuse(m, "host: a doorbell with 0x%08x: runlist %u has no channel %u", token, runlist,
               channel_id);
        return;
    }
    if (!c->is_scheduled)
        refuse(m, "host: a doorbell for channel %u, which is not scheduled", channel_id);
    c->is_rung = true;
    work_start(m);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static void read_gp_put(struct model *m, struct channel *c)
{
    uint32_t gp_put;
    c->is_rung = false;
    if (!memory_read(m, c->is.userd_aperture, c->is.userd + USERD_GP_PUT, &gp_put, 4))
        return;
    if (gp_put >= c->is.gpfifo_entries) {
        pbdma_fault(m, c, "GPPTR", "GP_PUT lies outside the GPFIFO", gp_put);
        return;
    }
    if (gp_put == c->gp_put)
        trace(m, "host: a doorbell for channel %u without new entries", c->is.channel_id);
    c->gp_put = gp_put;
}

static bool is_waiting(const struct channel *c)
{
    return c->is_rung || c->gp_get != c->gp_put || c->word_get < c->word_count ||
           c->segment_words > 0 || !engines_are_idle(c);
}

/* Everything that a channel can do now. True: it did something. */
static bool channel_run(struct model *m, struct channel *c, uint64_t until_ns)
{
    bool has_done = false;
    if (c->is_rung)
        read_gp_put(m, c);
    /* Methods first, engines after: who does not wait for an engine sees that it has not run. */
    enum outcome outcome = DONE;
    for (unsigned i = 0; !c->is_dead && i < 4096 && outcome == DONE; i++) {
        outcome = pbdma_step(m, c);
        has_done |= outcome == DONE;
        if (i % 64 == 63 && now_ns() >= until_ns)
            return has_done;
    }
    if (!c->is_dead && copy_step(m, c) == DONE)
        has_done = true;
    if (!c->is_dead && compute_step(m, c) == DONE)
        has_done = true;
    return has_done;
}

static bool host_slice(struct model *m, void *arg)
{
    (void)arg;
    uint64_t until_ns = now_ns() + SLICE_NS;
    bool has_done = true;
    m->host->is_inside = true;
    while (has_done && now_ns() < until_ns) {
        has_done = false;
        for (unsigned i = 0; i < CHANNELS_MAX; i++) {
            struct channel *c = m->host->channels[i];
            if (c && c->is_scheduled && !c->is_dead)
                has_done |= channel_run(m, c, until_ns);
        }
    }
    m->host->is_inside = false;
    free_leaving(m->host);
    if (has_done)
        return true;
    m->host->is_working = false;
    bool waits = false;
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        const struct channel *c = m->host->channels[i];
        waits |= c && c->is_scheduled && !c->is_dead && is_waiting(c);
    }
    if (waits &&
        !m->host->is_polling) { /* a semaphore in memory may change without anybody telling */
        m->host->is_polling = true;
        timer_add(m, POLL_NS, host_poll, NULL);
    }
    return false;
}
