"""smf70, smf71: the text files of Novell's Message Handling Service, one message a file, attachments beside it.

`grammar` reads and writes lines, `batch` parts files of several messages, `people`, `ids` and `dates` are what stands
in the lines, `reader` and `writer` the messages, `notice` the notification about one.
Sources, as far as there are public ones: Novell's "Using Messaging APIs, Part II: SMF-71" (Developer Notes, July
1995), the PMDF manual's MHS chapter, Microsoft's Q86552, Q116466 and KB 112911, "Anatomy of an SMF-70 message" of
Mailer2000, and programs in public that write such files. No MHS server was at hand to try anything on. `To`, `From`,
`Subject`, `Attachment`, `Attachment-name` and `o-nw-formtype` were seen in those; all other keywords, the limits of
SMF-70 and continued lines are from memory.
"""
