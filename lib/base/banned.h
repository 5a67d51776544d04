/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Force-included into every product file: calls that have bitten every C tree become
 * compile errors. The system headers that declare them come first.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(name, use) banned_##name##_use_##use
#undef strcpy
#define strcpy(...) BANNED(strcpy, str_add_or_memcpy)
#undef strcat
#define strcat(...) BANNED(strcat, str_add)
#undef strncpy
#define strncpy(...) BANNED(strncpy, snprintf_or_memcpy)
#undef strncat
#define strncat(...) BANNED(strncat, str_add)
#undef sprintf
#define sprintf(...) BANNED(sprintf, snprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf, vsnprintf)
#undef strtok
#define strtok(...) BANNED(strtok, strcspn)
#undef gmtime
#define gmtime(...) BANNED(gmtime, clock_format)
#undef localtime
#define localtime(...) BANNED(localtime, localtime_r)
#undef ctime
#define ctime(...) BANNED(ctime, clock_format)
#undef atoi
#define atoi(...) BANNED(atoi, strtol)
#undef atol
#define atol(...) BANNED(atol, strtol)
#undef rand
#define rand(...) BANNED(rand, id_uniform)
#undef system
#define system(...) BANNED(system, proc_spawn)
#undef popen
#define popen(...) BANNED(popen, proc_spawn)

#endif
