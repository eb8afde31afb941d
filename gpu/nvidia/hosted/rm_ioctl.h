/*
 * gpu/nvidia/hosted/rm_ioctl.h: the transport through NVIDIA's Linux driver. The hosted program hands it to
 * nvidia_transport_set() before gpu_start().
 */
#ifndef INGOT_GPU_NVIDIA_RM_IOCTL_H
#define INGOT_GPU_NVIDIA_RM_IOCTL_H

#include "gpu/nvidia/rm.h"

extern const struct rm_transport rm_ioctl_transport;

#endif
