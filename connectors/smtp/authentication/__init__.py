"""Who a message is from: SPF, DKIM, ARC and DMARC, asked of what comes in, and the primitives that sign what goes out.

Promises: everything here but `lookup` and `check` is pure or asks a Resolver that it is handed; octets of others are
bounded in size, number and look-ups, and none of them raises; DNS that does not answer is `temperror`, never a verdict.
Sources: RFC 7208 (SPF), RFC 6376 with 8301, 8463 and 8616 (DKIM), RFC 8617 (ARC), RFC 7489 (DMARC), RFC 8601
(Authentication-Results).
"""
