"""Who may submit mail: SASL mechanisms, the accounts they ask, and what holds back those who guess.

Promises: a mechanism does no I/O and is told by tables (`sasl`, `scram`); a password, a token or what is stored of
them is never in a log, an exception or an answer; whoever does not exist is refused in the words and the time of
whoever errs; guesses cost their client and their account more and more time (`throttle`), in bounded memory.

Source: RFC 4422 (SASL), 4616 (PLAIN), 5802 and 7677 (SCRAM), 7628 (OAUTHBEARER), 5929 (channel bindings), 4954 (AUTH).
Limits: one set of accounts a connector; a client that logs in may not act as another (no authorisation identity).
"""
