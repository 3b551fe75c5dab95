"""TNEF: what Outlook packs into `winmail.dat`, taken apart and made.

`unpack` says what a stream holds, `calendar` brings its meeting to iCalendar, `pack` makes a stream of a message;
`stream` and `properties` are the form itself, in both directions.
Promises: any octets are taken; what is cut off or broken is read as far as it goes; bounded in the number and the depth
of the things it holds and, for packed RTF, in what is unpacked.
Written here, since the libraries found have not been kept up for years.
"""

from typing import Final

from gateway.tnef.reader import Packed, Party, Unpacked, unpack
from gateway.tnef.rtf import unpacked_rtf

TYPES: Final = ("application/ms-tnef", "application/vnd.ms-tnef")

__all__ = ["TYPES", "Packed", "Party", "Unpacked", "unpack", "unpacked_rtf"]
