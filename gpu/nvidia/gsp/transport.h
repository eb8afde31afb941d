/*
 * gpu/nvidia/gsp/transport.h: the Resource Manager's calls on bare metal, carried to the GSP firmware by RPC.
 *
 * rm.h sees one object tree. Below it the work is split as in NVIDIA's own driver (open-gpu-kernel-modules 570.144,
 * src/nvidia): the GSP owns channels, engines and their scheduling; memory, address spaces and a part of the questions
 * about the chip belong to the CPU's side. So of what comes through this transport
 *
 *   objects     client, device, subdevice, address space, groups, context shares, channels, engine objects, debugger
 *               go to the GSP as RPCs; memory, mappings and the doorbell page exist here only (memory.h)
 *   controls    those that the CPU's side answers itself are answered here (controls.c), the others go to the GSP
 *   channels    get their instance block, method buffer and physical addresses of USERD and notifier here, and compute
 *               channels their context buffers (context.c)
 *   events      a channel that the GSP took down is written into its error notifier here (channel_events.c), where
 *               gpu/nvidia/fault.c looks for it
 *
 * gsp_transport.open() starts the GPU's firmware, which takes seconds and yields; close() unloads it.
 */
#ifndef INGOT_GPU_NVIDIA_GSP_TRANSPORT_H
#define INGOT_GPU_NVIDIA_GSP_TRANSPORT_H

#include "gpu/nvidia/rm.h"

struct pci_device;

extern const struct rm_transport gsp_transport;

/* The index-th NVIDIA display device on the PCI buses, NULL past the last. */
struct pci_device *gsp_pci_device(unsigned index);

#endif
