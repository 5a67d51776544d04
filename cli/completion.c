/* SPDX-License-Identifier: Apache-2.0 */
/* drover completion bash: a completion script made from the table of verbs. */
#include <stdio.h>

#include "base/str.h"
#include "cli/session.h"

static const char script[] =
    "_drover() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local verb=${COMP_WORDS[1]}\n"
    "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "        COMPREPLY=($(compgen -W \"$_drover_verbs\" -- \"$cur\"))\n"
    "        return\n"
    "    fi\n"
    "    case $prev in\n"
    "    -f|--filename|--kubeconfig|--data-dir) COMPREPLY=($(compgen -f -- \"$cur\")); "
    "return ;;\n"
    "    -o|--output) COMPREPLY=($(compgen -W 'wide json yaml name' -- \"$cur\")); "
    "return ;;\n"
    "    --for) COMPREPLY=($(compgen -W 'phase=Done phase=Running delete' -- \"$cur\")); "
    "return ;;\n"
    "    esac\n"
    "    case $verb in\n"
    "    logs|stop)\n"
    "        COMPREPLY=($(compgen -W \"$(drover get runs -o name 2>/dev/null | cut -d/ "
    "-f2)\" "
    "-- \"$cur\")) ;;\n"
    "    get|delete|describe|wait|events)\n"
    "        case $cur in\n"
    "        */*) COMPREPLY=($(compgen -W \"$(drover get \"${cur%%/*}\" -o name "
    "2>/dev/null)\" "
    "-- \"$cur\")) ;;\n"
    "        *) if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
    "               COMPREPLY=($(compgen -W \"$_drover_kinds\" -- \"$cur\"))\n"
    "           else\n"
    "               COMPREPLY=($(compgen -W \"$(drover get \"${COMP_WORDS[2]}\" -o name "
    "2>/dev/null | cut -d/ -f2)\" -- \"$cur\"))\n"
    "           fi ;;\n"
    "        esac ;;\n"
    "    apply) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _drover drover\n";

static int
run(int argc, char **argv)
{
    auto_str kinds = STR_INIT(4096);

    if (argc == 2 && streq(argv[1], "--help")) {
        cli_usage(&verb_completion);
        return 0;
    }
    if (argc != 2 || !streq(argv[1], "bash"))
        return cli_misuse(&verb_completion, "there is completion for bash");
    printf("_drover_verbs='");
    for (const struct cli_verb *const *v = cli_verbs; *v != NULL; v++)
        printf("%s ", (*v)->name);
    cli_resource_names(&kinds);
    for (char *p = kinds.ptr; *p != '\0'; p++)
        *p = *p == ',' ? ' ' : *p;
    printf("'\n_drover_kinds='%s'\n%s", kinds.ptr, script);
    return 0;
}

const struct cli_verb verb_completion = {
    .name = "completion",
    .args = "bash",
    .summary = "print a completion script: source <(drover completion bash)",
    .help = "",
    .run = run,
};
