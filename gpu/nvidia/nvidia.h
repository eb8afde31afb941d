/*
 * gpu/nvidia/nvidia.h: the door to the NVIDIA backend for the program's main(). Everything else goes through gpu/gpu.h.
 */
#ifndef INGOT_GPU_NVIDIA_H
#define INGOT_GPU_NVIDIA_H

struct rm_transport;

/* How to reach the Resource Manager; call before gpu_start(). Without a transport GPUs are listed, but not used. */
void nvidia_transport_set(const struct rm_transport *transport);

#endif
