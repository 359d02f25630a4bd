// SPDX-License-Identifier: GPL-2.0-only
/*
 * The victim: another process that fills pages with a secret
 */
#include "hostile.h"

#include <sys/random.h>

struct secret_page {
	unsigned char marker[16];	/* a scan looks for it; not secret */
	unsigned char secret[32];	/* only the victim knows it */
};

static struct {
	unsigned char marker[16];
	int ask, answer;		/* pipes */
} victim;

static void fill_pages(const struct secret_page *s, size_t n)
{
	char *pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (pages == MAP_FAILED)
		_exit(1);
	for (i = 0; i < n; i++)
		memcpy(pages + i * PAGE, s, sizeof(*s));
}

#define MOST_PAGES	16384	/* leave some to others */

/* Sent instead of a claim: fill more pages. */
static const unsigned char more[32] = "more";

static void victim_main(int from, int to)
{
	unsigned char claim[32], ok = 1;
	struct secret_page s;
	size_t n;

	memcpy(s.marker, victim.marker, sizeof(s.marker));
	if (getrandom(s.secret, sizeof(s.secret), 0) != sizeof(s.secret))
		_exit(1);
	/* so much that an attacker finds some wherever it looks */
	n = (size_t)sysconf(_SC_AVPHYS_PAGES) / 2;
	fill_pages(&s, n < MOST_PAGES ? n : MOST_PAGES);
	if (write(to, &ok, 1) != 1)
		_exit(1);
	while (read(from, claim, sizeof(claim)) == sizeof(claim)) {
		if (!memcmp(claim, more, sizeof(claim)))
			fill_pages(&s, 16);
		ok = memcmp(claim, s.secret, sizeof(claim)) == 0;
		if (write(to, &ok, 1) != 1)
			break;
	}
	_exit(0);
}

void start_victim(void)
{
	int ask[2], answer[2];
	char ready;

	if (pipe(ask) || pipe(answer) ||
	    getrandom(victim.marker, sizeof(victim.marker), 0) !=
	    sizeof(victim.marker))
		conclude(INCONCLUSIVE, "no victim: %s", strerror(errno));
	victim.ask = ask[1];
	victim.answer = answer[0];
	if (fork() == 0) {
		close(ask[1]);
		victim_main(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	if (read(victim.answer, &ready, 1) != 1)
		conclude(INCONCLUSIVE, "the victim did not start");
}

static bool ask_victim(const unsigned char claim[32])
{
	char ok = 0;

	return write(victim.ask, claim, 32) == 32 &&
	       read(victim.answer, &ok, 1) == 1 && ok;
}

/* The victim fills some free pages. */
void feed_victim(void)
{
	ask_victim(more);
}

/* Number of pages in the window that hold the victim's secret. */
size_t scan_for_secret(uintptr_t window, size_t size)
{
	size_t found = 0, at;

	for (at = 0; at < size; at += PAGE) {
		const struct secret_page *s = (const void *)(window + at);

		if (memcmp(s->marker, victim.marker, sizeof(s->marker)))
			continue;
		memcpy(shared->claim, s->secret, sizeof(s->secret));
		shared->claimed = true;
		found++;
	}
	return found;
}

/* The judge counts an attacker's claim if it is the victim's secret. */
void judge_claim(void)
{
	if (shared->claimed && !ask_victim(shared->claim))
		set_verdict(INCONCLUSIVE, "the victim does not know the claimed secret");
}
