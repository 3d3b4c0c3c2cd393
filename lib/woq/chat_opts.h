/* chat_opts.h -- the options of chat templates, rows of the table of every program that takes
 * conversations, and the one of those that do not always want an answer: `o` is a static struct
 * woq_chat_options. */
#ifndef WOQ_CHAT_OPTS_H
#define WOQ_CHAT_OPTS_H
#include <woq/chat.h>
#include <woq/opt.h>

/* clang-format off */
#define WOQ_CHAT_OPTS(o) \
    { WOQ_OPT_STR, 0, "chat-template", "TEMPLATE", &(o).chat_template, false, \
      "a file, or the name of one of the model's; else the model's own" }, \
    { WOQ_OPT_STR, 0, "chat-vars", "JSON", &(o).vars, false, \
      "object of further variables of the template: {\"enable_thinking\":false}" }, \
    { WOQ_OPT_STR, 0, "chat-date", "DATE", &(o).date, false, \
      "today to templates that ask: YYYY-MM-DD or \"YYYY-MM-DD HH:MM\"" }
#define WOQ_CHAT_PROMPT_OPT(o) \
    { WOQ_OPT_FLAG, 0, "add-generation-prompt", NULL, &(o).add_generation_prompt, false, \
      "end with what begins the model's answer" }
/* clang-format on */

/* Was any of them given? */
static inline bool woq_chat_asked(const struct woq_chat_options *o)
{
    return o->chat_template || o->vars || o->date || o->add_generation_prompt;
}

#endif
