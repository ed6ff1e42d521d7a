"""Blots secrets out of messages that foreign programs wrote: they quote URLs, headers and keys.

By form, not by value: nobody here knows all secrets. Each pattern is linear, because messages come from strangers.
"""

import re

BLOT = "***"
_VALUE = r"[^\s\"'&,;<>)\]}]+"
_SECRET_NAMES = "|".join(
    (
        r"api[ _-]?key", r"access[ _-]?key(?:[ _-]?id)?", r"secret[ _-]?access[ _-]?key", r"private[ _-]?key",
        r"(?:access|auth|bearer|id|refresh|security|session)[ _-]?token", r"token", r"client[ _-]?secret", r"secret",
        r"password", r"passwd", r"pwd", r"passphrase", r"credentials?", r"signature", r"sig", r"authorization",
        r"cookie",
    )
)  # fmt: skip
_PATTERNS = (
    # A private key, also one that was cut off.
    (r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?", BLOT),
    # scheme://user:password@host; the password may hold an @.
    (r"(?<=://)[^\s/\"'<>]+(?=@)", BLOT),
    # Headers. "basic" is also a word: what follows has to look like base64.
    (r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|token|key)\s+)[\w.~+/=-]+", rf"\1{BLOT}"),
    (r"(?i)\b(bearer)\s+[\w.~+/=-]{6,}", rf"\1 {BLOT}"),
    (r"(?i)\b(basic)\s+(?=[A-Za-z+/]*[\d=])[A-Za-z0-9+/=]{8,}", rf"\1 {BLOT}"),
    # name=value, name: value, "name": "value"; also as the end of a longer name such as X-Amz-Security-Token.
    (
        rf"(?i)(?<![a-z])((?:aws|openai|x-?amz)?(?:{_SECRET_NAMES})\b(?: provided)?[\"']?\s*[:=]\s*[\"']?)"
        rf"(?!\*\*\*|(?:bearer|basic)\s){_VALUE}",
        rf"\1{BLOT}",
    ),
    # Names that mean a secret in a URL only: ?key=, &code=
    (rf"(?i)([?&](?:key|code|auth|jwt|sv_sig)=){_VALUE}", rf"\1{BLOT}"),
    # Keys that are known by their form: OpenAI, Hugging Face, AWS, Google, GitHub, GitLab, Slack, and JSON web tokens.
    (
        r"(?<![A-Za-z0-9])(?:sk-[\w*-]{8,}|hf_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|gh[opsu]_\w{20,}|"
        r"github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)",
        BLOT,
    ),
)
_COMPILED = tuple((re.compile(pattern), blot) for pattern, blot in _PATTERNS)


def redact(message: str) -> str:
    """The message with everything that looks like a secret replaced by ***.

    Passwords in URLs, secret query parameters (signed URLs of S3 among them), headers, name=value pairs with a telling
    name, private keys, and keys of well-known services.
    """
    for pattern, blot in _COMPILED:
        message = pattern.sub(blot, message)
    return message
