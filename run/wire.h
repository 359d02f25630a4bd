/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire between stubguard-run on the host and its init in the guest: frames
 * on a console of UML. Both are programs of one package, so there is one version.
 *
 * A frame is a head and up to WIRE_PAYLOAD bytes. Numbers are little-endian, as
 * both sides are x86-64.
 *
 * A console of arch/um loses its interrupt if its buffer of 4096 bytes gets
 * full, so the host sends at most WIRE_WINDOW bytes of payload that the guest has
 * not taken (WIRE_TAKEN). The guest sends at most WIRE_CREDIT bytes of a stream
 * that the host has not passed on (WIRE_CREDIT_FOR).
 *
 * A console also costs a call of the host for each byte that it reads. So an
 * input that is no terminal goes through a file in memory, the guest's second
 * disk: WIRE_SLOTS slots, which are filled and taken in turn.
 */
#ifndef STUBGUARD_RUN_WIRE_H
#define STUBGUARD_RUN_WIRE_H

#include <stdint.h>

#define WIRE_PAYLOAD	1024
#define WIRE_WINDOW	2048
#define WIRE_CREDIT	65536
#define WIRE_CONFIG_MAX	(4 << 20)
#define WIRE_SLOTS	4
#define WIRE_SLOT	(128 << 10)

/* The command's streams have their usual numbers. */
#define WIRE_STREAMS	3

enum wire_type {
	/* To the guest */
	WIRE_CONFIG = 1,	/* a part of the configuration: records */
	WIRE_START,		/* the configuration is complete */
	WIRE_SIGNAL,		/* uint32_t: a signal for the command's process group */
	WIRE_WINDOW_SIZE,	/* 2 * uint16_t: rows, columns */
	WIRE_CREDIT_FOR,	/* uint32_t: so many bytes of the stream were passed on */
	WIRE_SLOT_FULL,		/* uint32_t: so many bytes of input are in the next slot */
	WIRE_EOF,		/* the input has ended */
	/* Both ways */
	WIRE_DATA,		/* of a stream; to the guest, what was typed */
	/* To the host */
	WIRE_READY,		/* the guest has booted */
	WIRE_TAKEN,		/* uint32_t: so many bytes of payload were taken */
	WIRE_SLOT_TAKEN,	/* the oldest slot is free */
	WIRE_STATS,		/* a part of /proc/stubguard */
	WIRE_TROUBLE,		/* text: the command cannot be started */
	WIRE_END,		/* struct wire_end */
};

struct wire_head {
	uint8_t type;
	uint8_t stream;
	uint16_t length;
};

enum wire_end_kind {
	WIRE_EXITED,		/* value: its status */
	WIRE_KILLED,		/* value: the signal */
	WIRE_NOT_RUN,		/* value: errno of execve() */
	WIRE_FAILED,		/* WIRE_TROUBLE has said why */
};

struct wire_end {
	uint32_t kind;
	uint32_t value;
};

/*
 * A record of the configuration is one of these letters and a string that ends
 * with a zero byte.
 */
enum wire_record {
	RECORD_ARGUMENT = 'a',
	RECORD_ENVIRONMENT = 'e',
	RECORD_UID = 'u',
	RECORD_GID = 'g',
	RECORD_FOLDER = 'd',		/* where the command starts */
	RECORD_READ_SHARE = 'r',	/* where it is mounted in the guest */
	RECORD_WRITE_SHARE = 'w',
	RECORD_SOURCE = 'S',		/* follows each share: its path for hostfs */
	RECORD_ROOT = 'R',		/* the root's path for hostfs; without it the root is an image */
	RECORD_TERMINAL = 't',		/* stdin and stdout are a terminal */
	RECORD_TERMINAL_ERROR = 'T',	/* and stderr is, too */
	RECORD_PRIVILEGED = 'p',	/* root keeps its capabilities */
	RECORD_STATS = 's',
};

#endif
