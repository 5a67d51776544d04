/* SPDX-License-Identifier: Apache-2.0 */
/* Control sequences by ECMA-48. */
#include "cli/ansi.h"

static void
in_text(struct ansi *a, unsigned char c, struct str *out)
{
    if (c == 0x1b) {
        a->state = ANSI_ESCAPE;
    } else if ((c >= ' ' && c != 0x7f) || c == '\n' || c == '\t' || c == '\r' ||
               c == '\b') {
        str_addc(out, (char)c);
    }
}

static void
in_escape(struct ansi *a, unsigned char c)
{
    if (c == '[') {
        a->state = ANSI_CSI;
        a->n = 0;
    } else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_') {
        a->state = ANSI_STRING; /* OSC, DCS, SOS, PM, APC: up to ST or BEL */
    } else if (c >= 0x20 && c <= 0x2f) {
        return; /* intermediate bytes; one more follows */
    } else {
        a->state = c == 0x1b ? ANSI_ESCAPE : ANSI_TEXT;
    }
}

/* Only SGR, "m" with plain parameters, is shown. */
static void
in_csi(struct ansi *a, unsigned char c, struct str *out)
{
    if (c == 0x1b) {
        a->state = ANSI_ESCAPE;
    } else if (c >= 0x40 && c <= 0x7e) {
        bool plain = c == 'm' && a->n < sizeof(a->seq);
        for (size_t i = 0; plain && i < a->n; i++)
            plain = (a->seq[i] >= '0' && a->seq[i] <= '9') || a->seq[i] == ';' ||
                    a->seq[i] == ':';
        if (plain) {
            str_adds(out, "\033[");
            str_add(out, a->seq, a->n);
            str_addc(out, 'm');
        }
        a->state = ANSI_TEXT;
    } else if (c < ' ') {
        a->state = ANSI_TEXT; /* no sequence after all */
        in_text(a, c, out);
    } else {
        if (a->n < sizeof(a->seq))
            a->seq[a->n] = (char)c;
        a->n += a->n < sizeof(a->seq);
    }
}

static void
in_string(struct ansi *a, unsigned char c)
{
    if (a->state == ANSI_STRING_ESC)
        a->state = c == '\\' ? ANSI_TEXT : c == 0x1b ? ANSI_STRING_ESC : ANSI_STRING;
    else if (c == 0x07)
        a->state = ANSI_TEXT;
    else if (c == 0x1b)
        a->state = ANSI_STRING_ESC;
}

void
ansi_filter(struct ansi *a, const char *bytes, size_t n, struct str *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        switch (a->state) {
        case ANSI_TEXT:
            in_text(a, c, out);
            break;
        case ANSI_ESCAPE:
            in_escape(a, c);
            break;
        case ANSI_CSI:
            in_csi(a, c, out);
            break;
        case ANSI_STRING:
        case ANSI_STRING_ESC:
            in_string(a, c);
            break;
        }
    }
}
