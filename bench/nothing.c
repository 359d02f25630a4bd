// SPDX-License-Identifier: GPL-2.0-only
/* nothing - the program that is executed, static or dynamic */

int main(void)
{
	return 0;
}
