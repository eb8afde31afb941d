/*
 * runtime/net/e1000e_regs.h: registers and descriptors of Intel's 82574. Source: Intel 82574 GbE
 * Controller Family Datasheet, revision 3.4; register names and numbers are from its chapter 10,
 * descriptors from chapter 7.
 */
#ifndef INGOT_NET_E1000E_REGS_H
#define INGOT_NET_E1000E_REGS_H

#include "kernel/kernel.h"

#define E1000_REGISTER_BYTES           0x20000 /* BAR 0 */

#define E1000_CTRL                     0x0000 /* Device Control */
#define   E1000_CTRL_GIO_MASTER_DISABLE BIT(2)
#define   E1000_CTRL_ASDE              BIT(5) /* take the speed from the PHY */
#define   E1000_CTRL_SLU               BIT(6) /* Set Link Up: let the PHY bring the link up */
#define   E1000_CTRL_FRCSPD            BIT(11)
#define   E1000_CTRL_FRCDPLX           BIT(12)
#define   E1000_CTRL_RST               BIT(26)
#define E1000_STATUS                   0x0008  /* Device Status */
#define   E1000_STATUS_LU              BIT(1)  /* Link Up */
#define   E1000_STATUS_GIO_MASTER_ENABLE BIT(19) /* requests of ours are still on the bus */
#define E1000_EECD                     0x0010  /* EEPROM/Flash Control */
#define   E1000_EECD_AUTO_RD           BIT(9)  /* the NVM's contents are in the registers */
#define E1000_CTRL_EXT                 0x0018  /* Extended Device Control */
#define   E1000_CTRL_EXT_EIAME         BIT(24) /* an MSI-X message masks its causes as IAM says */
#define   E1000_CTRL_EXT_PBA           BIT(31) /* MSI-X pending bits clear as the messages go out */

#define E1000_ICR                      0x00c0 /* Interrupt Cause Read; writing ones clears */
#define E1000_IMS                      0x00d0 /* Interrupt Mask Set */
#define E1000_IMC                      0x00d8 /* Interrupt Mask Clear */
#define   E1000_INT_LSC                BIT(2) /* Link Status Change */
#define   E1000_INT_RXQ0               BIT(20)
#define   E1000_INT_OTHER              BIT(24)
#define   E1000_INT_ALL                UINT32_MAX
#define E1000_EIAC                     0x00dc /* causes that an MSI-X message clears */
#define E1000_IAM                      0x00e0 /* causes that an MSI-X message masks */
#define E1000_IVAR                     0x00e4 /* Interrupt Vector Allocation */
#define   E1000_IVAR_RXQ0              BITS(2, 0)
#define   E1000_IVAR_RXQ0_VALID        BIT(3)
#define   E1000_IVAR_OTHER             BITS(18, 16)
#define   E1000_IVAR_OTHER_VALID       BIT(19)
#define E1000_EITR(vector)             (0x00e8 + 4 * (vector)) /* throttling, 0: none */

#define E1000_RCTL                     0x0100 /* Receive Control */
#define   E1000_RCTL_EN                BIT(1)
#define   E1000_RCTL_MPE               BIT(4)  /* all multicast frames; lwIP's IGMP filters */
#define   E1000_RCTL_BAM               BIT(15) /* broadcasts */
#define   E1000_RCTL_SECRC             BIT(26) /* strip the FCS; BSIZE 0 is 2048 bytes */
#define E1000_TCTL                     0x0400  /* Transmit Control */
#define   E1000_TCTL_EN                BIT(1)
#define   E1000_TCTL_PSP               BIT(3) /* pad short frames */
#define   E1000_TCTL_CT                BITS(11, 4)
#define   E1000_TCTL_COLD              BITS(21, 12)
#define E1000_TIPG                     0x0410 /* Transmit Inter Packet Gap */
#define   E1000_TIPG_IPGT              BITS(9, 0)
#define   E1000_TIPG_IPGR1             BITS(19, 10)
#define   E1000_TIPG_IPGR2             BITS(29, 20)

#define E1000_RDBAL                    0x2800 /* receive ring: base, length in bytes, head, tail */
#define E1000_RDBAH                    0x2804
#define E1000_RDLEN                    0x2808
#define E1000_RDH                      0x2810
#define E1000_RDT                      0x2818
#define E1000_RDTR                     0x2820 /* receive interrupt delay */
#define E1000_RADV                     0x282c
#define E1000_TDBAL                    0x3800 /* transmit ring */
#define E1000_TDBAH                    0x3804
#define E1000_TDLEN                    0x3808
#define E1000_TDH                      0x3810
#define E1000_TDT                      0x3818
#define E1000_TXDCTL                   0x3828
#define   E1000_TXDCTL_GRAN            BIT(24) /* thresholds count descriptors */
#define   E1000_TXDCTL_ONE             BIT(22) /* Linux's e1000e driver sets it for this part */
#define E1000_RXCSUM                   0x5000  /* Receive Checksum Control */
#define   E1000_RXCSUM_IPOFLD          BIT(8)
#define   E1000_RXCSUM_TUOFLD          BIT(9)
#define E1000_MTA                      0x5200 /* multicast table, 128 words */
#define E1000_MTA_COUNT                128
#define E1000_RAL0                     0x5400 /* our address, low 4 bytes */
#define E1000_RAH0                     0x5404
#define   E1000_RAH_ADDRESS            BITS(15, 0)
#define   E1000_RAH_AV                 BIT(31) /* Address Valid */

struct e1000_rx_desc { /* legacy receive descriptor (7.1.4) */
    uint64_t address;
    uint16_t size_bytes, checksum;
    uint8_t status, errors;
    uint16_t vlan;
};
static_assert(sizeof(struct e1000_rx_desc) == 16, "82574 datasheet, 7.1.4");
#define   E1000_RXD_STATUS_DD  BIT(0) /* Descriptor Done */
#define   E1000_RXD_STATUS_EOP BIT(1) /* the frame ends here */
#define   E1000_RXD_STATUS_IXSM BIT(2) /* ignore the checksum bits */
#define   E1000_RXD_STATUS_UDPCS BIT(4)
#define   E1000_RXD_STATUS_TCPCS BIT(5)
#define   E1000_RXD_ERROR_TCPE BIT(5)
#define   E1000_RXD_ERROR_IPE  BIT(6)
#define E1000_RXD_ERROR_FRAME \
    (BIT(0) | BIT(1) | BIT(2) | BIT(4) | BIT(7)) /* CRC, symbol, sequence, carrier, data */

struct e1000_tx_desc { /* extended transmit descriptor: data (7.2.10.2) or context (7.2.10.1) */
    uint64_t address;  /* context: first half is the IP checksum's, second half the TCP/UDP
                          checksum's place */
    uint32_t command;
    uint32_t status;
};
static_assert(sizeof(struct e1000_tx_desc) == 16, "82574 datasheet, 7.2.10");
#define   E1000_TXC_IPCSS      BITS(7, 0)
#define   E1000_TXC_IPCSO      BITS(15, 8)
#define   E1000_TXC_IPCSE      BITS(31, 16)
#define   E1000_TXC_TUCSS      BITS(39, 32) /* where summing starts */
#define   E1000_TXC_TUCSO      BITS(47, 40) /* where the result goes */
#define   E1000_TXC_TUCSE      BITS(63, 48) /* where summing ends; 0: at the frame's end */
#define   E1000_TXD_DTALEN     BITS(19, 0)
#define   E1000_TXD_DTYP       BITS(23, 20)
#define   E1000_TXD_DTYP_CONTEXT 0
#define   E1000_TXD_DTYP_DATA  1
#define   E1000_TXD_EOP        BIT(24)
#define   E1000_TXD_IFCS       BIT(25) /* append the FCS */
#define   E1000_TXD_RS         BIT(27) /* set DD when done */
#define   E1000_TXD_DEXT       BIT(29) /* extended descriptor */
#define   E1000_TXD_STATUS_DD  BIT(0)
#define   E1000_TXD_POPTS_TXSM BIT(9) /* data: insert the TCP/UDP checksum */

#endif
