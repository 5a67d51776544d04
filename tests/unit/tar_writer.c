/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/tar_writer.h"

#include <stdio.h>
#include <string.h>

void
tar_add(struct str *tar, const struct tar_entry *en)
{
    char h[513] = {0};
    unsigned sum = 0;
    size_t n = en->content != NULL ? strlen(en->content) : 0;
    static const char zeros[512];

    snprintf(h, 101, "%s", en->name);
    snprintf(h + 100, 8, "%07o", en->mode != 0 ? en->mode : 0644);
    snprintf(h + 108, 8, "%07o", en->uid);
    snprintf(h + 116, 8, "%07o", en->gid);
    snprintf(h + 124, 12, "%011o", (unsigned)n);
    if (en->size != NULL)
        snprintf(h + 124, 12, "%s", en->size);
    snprintf(h + 136, 12, "%011o", en->mtime);
    memset(h + 148, ' ', 8);
    h[156] = en->type;
    snprintf(h + 157, 101, "%s", en->link != NULL ? en->link : "");
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    str_add(tar, h, 512);
    str_add(tar, en->content, n);
    str_add(tar, zeros, (512 - n % 512) % 512);
}

void
tar_finish(struct str *tar)
{
    static const char zeros[1024];

    str_add(tar, zeros, sizeof(zeros));
}
