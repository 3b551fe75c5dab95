"""The EWS peer as clients see it that none of us wrote: exchangelib, DavMail, ews-javascript-api."""
