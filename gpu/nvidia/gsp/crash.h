/*
 * gpu/nvidia/gsp/crash.h: what the GSP's operating system leaves behind when it dies: NVIDIA calls it CrashCat.
 *
 * A "wayfinder" in the falcon's DEBUGINFO register names a group of scratch registers, and these say where a queue of packets is
 * and how far it is filled. The first packet of a report says who died of what; others have registers and a stack trace.
 *
 * Source: open-gpu-kernel-modules 570.144, nv-crashcat.h (formats), nv-crashcat-decoder.h, crashcat_wayfinder_v1.c,
 * crashcat_queue_v1.c, kernel_crashcat_engine_tu102.c (registers, DMEM), crashcat_report_v1_libos3.c (words for the causes).
 */
#ifndef INGOT_GPU_NVIDIA_GSP_CRASH_H
#define INGOT_GPU_NVIDIA_GSP_CRASH_H

#include <stdbool.h>

struct hw;

/* Tell the log of a crash report that has not been read yet; false when there is none. Reads registers only, and marks it read. */
bool gsp_crash_report(struct hw *hw);

#endif
