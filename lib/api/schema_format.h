/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Formats of strings. Each check takes the whole unescaped string; what is right is what
 * Kubernetes takes, whose checks are Go's parsers and govalidator's expressions. Letters
 * and symbols outside of ASCII in host names are not told from other characters. Pure.
 */
#ifndef API_SCHEMA_FORMAT_H
#define API_SCHEMA_FORMAT_H

#include "api/kind_internal.h"

/* schema_format_net.c */
bool format_is_uri(const char *text); /* absolute, or an absolute path */
bool format_is_email(const char *text);
bool format_is_hostname(const char *text);
bool format_is_ipv4(const char *text); /* ::ffff:1.2.3.4 is one, too */
bool format_is_ipv6(const char *text);
bool format_is_cidr(const char *text);
bool format_is_mac(const char *text); /* 6, 8 or 20 bytes; 01:23, 01-23 or 0123.4567 */
/* schema_format_text.c */
bool format_is_object_id(const char *text);
bool format_is_uuid(const char *text); /* dashes may be left out */
bool format_is_uuid3(const char *text);
bool format_is_uuid4(const char *text);
bool format_is_uuid5(const char *text);
bool format_is_isbn(const char *text);
bool format_is_isbn10(const char *text);
bool format_is_isbn13(const char *text);
bool format_is_creditcard(const char *text);
bool format_is_ssn(const char *text);
bool format_is_hexcolor(const char *text);
bool format_is_rgbcolor(const char *text);
bool format_is_byte(const char *text);     /* standard base64, not empty */
bool format_is_duration(const char *text); /* Go's, or "3 weeks 2 days" */

#endif
