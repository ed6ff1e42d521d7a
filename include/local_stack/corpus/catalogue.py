"""The sample corpus as one table: what is in it, and what has to become of each object."""

from collections.abc import Callable
from functools import partial

from PIL.Image import Image

from include.local_stack.corpus import documents, hostile, pictures
from include.local_stack.corpus.encode import encode_clip, encode_sound, repeat_frames
from include.local_stack.corpus.model import CorpusObject
from include.local_stack.corpus.sounds import draw_sound
from include.local_stack.corpus.texts import ARTICLES, Article
from include.local_stack.drawings import Clip, Scene, draw_clip

TEXT = ("text",)
SHORT_TEXT = ("text", "multimodal")  # plain text and Markdown: a sentence and the picture that it describes meet
PICTURE = ("image", "multimodal")
SOUND = ("audio",)
FILM = ("video",)
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def corpus_objects() -> list[CorpusObject]:
    """All objects, in the order of their keys' UTF-8 bytes."""
    objects = [*_texts(), *_tables(), *_drawings(), *_photographs(), *_sounds(), *_films(), *_hostile()]
    return sorted(objects, key=lambda item: item.key.encode())


def _texts() -> list[CorpusObject]:
    writers: dict[str, Callable[[Article], bytes]] = {
        "text/plain": documents.as_text,
        "text/markdown": documents.as_markdown,
        "text/html": documents.as_html,
        "application/pdf": documents.as_pdf,
        DOCX: documents.as_docx,
    }
    files = {
        # Keys as people make them: spaces, accents, quotes, plus and percent signs, other scripts.
        "texts/garden/tomatoes on a balcony.txt": ("text/plain", "tomatoes"),
        "texts/garden/compost.md": ("text/markdown", "compost"),
        "texts/sky/saturn.txt": ("text/plain", "saturn"),
        "texts/sky/望遠鏡.html": ("text/html", "telescope"),
        "texts/kitchen/sourdough.pdf": ("application/pdf", "sourdough"),
        "texts/kitchen/100% onions + butter.md": ("text/markdown", "onions"),
        "texts/kitchen/café.txt": ("text/plain", "coffee"),
        "texts/money/compound interest.docx": (DOCX, "interest"),
        "texts/money/mortgage.txt": ("text/plain", "mortgage"),
        "texts/sea/reefing.html": ("text/html", "sailing"),
        "texts/games/chess.txt": ("text/plain", "chess"),
        "texts/animals/bees.pdf": ("application/pdf", "bees"),
        "texts/animals/whales' songs.txt": ("text/plain", "whales"),
        "texts/health/sleep.docx": (DOCX, "sleep"),
        "texts/health/back pain.txt": ("text/plain", "back-pain"),
        "texts/past/gutenberg.html": ("text/html", "printing"),
        "texts/past/aqueducts.txt": ("text/plain", "aqueducts"),
        "texts/repairs/bicycle chain.md": ("text/markdown", "bicycle"),
        "texts/music/piano.txt": ("text/plain", "piano"),
        "texts/weather/fog.txt": ("text/plain", "fog"),
        'texts/forest/"chanterelle" or not.txt': ("text/plain", "mushrooms"),
        "texts/computers/backups.md": ("text/markdown", "backups"),
        "texts/computers/passwords.txt": ("text/plain", "passwords"),
    }
    articles = [
        CorpusObject(
            key=key,
            media_type=media_type,
            write=partial(writers[media_type], ARTICLES[article]),
            lanes=SHORT_TEXT if media_type in ("text/plain", "text/markdown") else TEXT,
            meta={"author": ARTICLES[article].author, "topic": ARTICLES[article].topic},
        )
        for key, (media_type, article) in files.items()
    ]
    captions = {
        "captions/moon.txt": Scene("moon", "yellow", "large", "at the top right", "black"),
        "captions/heart.txt": Scene("heart", "purple", "large", "in the center", "white"),
        "captions/star.md": Scene("star", "green", "small", "on the right", "black"),
    }
    return articles + [
        CorpusObject(
            key=key,
            media_type="text/markdown" if key.endswith(".md") else "text/plain",
            write=partial(str.encode, f"{scene.caption}\n"),
            lanes=SHORT_TEXT,
            meta={"topic": "drawing"},
        )
        for key, scene in captions.items()
    ]


def _tables() -> list[CorpusObject]:
    return [
        CorpusObject("tables/planets.csv", "text/csv", partial(documents.as_csv, documents.PLANETS), TEXT),
        CorpusObject("tables/spices.json", "application/json", partial(documents.as_json, documents.SPICES), TEXT),
        CorpusObject("tables/workshops.csv", "text/csv", partial(documents.as_csv, documents.WORKSHOPS), TEXT),
    ]


def _drawings() -> list[CorpusObject]:
    scenes = {
        "drawings/red circle.png": ("PNG", Scene("circle", "red", "large", "in the center", "white")),
        "drawings/blue star.jpg": ("JPEG", Scene("star", "blue", "large", "at the top left", "white")),
        "drawings/yellow moon.webp": ("WEBP", Scene("moon", "yellow", "large", "at the top right", "black")),
        "drawings/green triangle.gif": ("GIF", Scene("triangle", "green", "large", "at the bottom", "beige")),
        "drawings/purple heart.avif": ("AVIF", Scene("heart", "purple", "large", "in the center", "white")),
        "drawings/orange ring.bmp": ("BMP", Scene("ring", "orange", "large", "on the left", "gray")),
        "drawings/brown square.tiff": ("TIFF", Scene("square", "brown", "large", "at the bottom right", "beige")),
        "drawings/pink cross.heic": ("HEIF", Scene("cross", "pink", "large", "on the right", "black")),
        "drawings/small red square.jpeg": ("JPEG", Scene("square", "red", "small", "at the bottom left", "white")),
        "drawings/small blue circle.png": ("PNG", Scene("circle", "blue", "small", "at the top", "gray")),
        "drawings/small green star.webp": ("WEBP", Scene("star", "green", "small", "on the right", "black")),
        "drawings/small yellow heart.png": ("PNG", Scene("heart", "yellow", "small", "in the center", "black")),
    }
    objects = [
        CorpusObject(
            key=key,
            media_type=_PICTURE_TYPES[picture_format],
            write=partial(_write_drawing, scene, picture_format),
            lanes=PICTURE,
            meta={"caption": scene.caption},
        )
        for key, (picture_format, scene) in scenes.items()
    ]
    blinking = Clip("circle", "orange", "growing", "white")
    animation = CorpusObject(
        "drawings/growing circle.gif", "image/gif", partial(_write_animation, blinking), PICTURE, meta={"frames": "16"}
    )
    return [*objects, animation]


def _photographs() -> list[CorpusObject]:
    writers = {
        "photographs/temple.jpg": ("JPEG", partial(pictures.photograph, "china")),
        "photographs/temple mirrored.webp": ("WEBP", partial(pictures.mirrored, "china")),
        "photographs/temple roof.png": ("PNG", partial(pictures.crop, "china", 0.15, 0.1, 0.75, 0.6)),
        "photographs/dahlia.avif": ("AVIF", partial(pictures.photograph, "flower")),
        "photographs/dahlia mirrored.heic": ("HEIF", partial(pictures.mirrored, "flower")),
        "photographs/dahlia close.tiff": ("TIFF", partial(pictures.crop, "flower", 0.25, 0.2, 0.7, 0.85)),
    }
    plain = [
        CorpusObject(key, _PICTURE_TYPES[picture_format], partial(_write_picture, make, picture_format), PICTURE)
        for key, (picture_format, make) in writers.items()
    ]
    odd = {
        "photographs/dahlia sideways.jpg": ("image/jpeg", pictures.sideways_jpeg, "flower"),
        "photographs/temple for print.jpg": ("image/jpeg", pictures.cmyk_jpeg, "china"),
        "photographs/dahlia 32 colours.png": ("image/png", pictures.palette_png, "flower"),
        "photographs/temple 16 bit.png": ("image/png", pictures.deep_png, "china"),
    }
    return plain + [
        CorpusObject(key, media_type, partial(_write_odd, write, name), PICTURE)
        for key, (media_type, write, name) in odd.items()
    ]


def _sounds() -> list[CorpusObject]:
    files = {
        # key: (kind, seed, media type, container, codec, rate, channels)
        "sounds/bell/morning.wav": ("bell", 1, "audio/wav", "wav", "pcm_s16le", 44_100, 2),
        "sounds/bell/evening.mp3": ("bell", 2, "audio/mpeg", "mp3", "libmp3lame", 44_100, 1),
        "sounds/engine/tractor.flac": ("engine", 1, "audio/flac", "flac", "flac", 32_000, 1),
        "sounds/engine/ferry.ogg": ("engine", 2, "audio/ogg", "ogg", "vorbis", 44_100, 2),
        "sounds/birds/hedge.opus": ("birds", 1, "audio/ogg", "ogg", "libopus", 48_000, 1),
        "sounds/birds/orchard.m4a": ("birds", 2, "audio/mp4", "ipod", "aac", 44_100, 1),
        "sounds/rain/roof.wav": ("rain", 1, "audio/wav", "wav", "pcm_s16le", 16_000, 1),
        "sounds/rain/window.flac": ("rain", 2, "audio/flac", "flac", "flac", 22_050, 1),
        "sounds/morse/ship.mp3": ("morse", 1, "audio/mpeg", "mp3", "libmp3lame", 22_050, 1),
        "sounds/strings/lute.ogg": ("strings", 1, "audio/ogg", "ogg", "vorbis", 44_100, 2),
        "sounds/strings/harp.m4a": ("strings", 2, "audio/mp4", "ipod", "aac", 48_000, 2),
        "sounds/siren/street.opus": ("siren", 1, "audio/ogg", "ogg", "libopus", 48_000, 1),
    }
    objects = [
        CorpusObject(
            key=key,
            media_type=media_type,
            write=partial(_write_sound, kind, seed, container, codec, rate_hz, channels),
            lanes=SOUND,
            meta={"topic": kind},
        )
        for key, (kind, seed, media_type, container, codec, rate_hz, channels) in files.items()
    ]
    # A film's container with nothing but sound in it is a sound.
    write = partial(_write_sound, "siren", 2, "mp4", "aac", 48_000, 1)
    return [*objects, CorpusObject("sounds/siren/no picture.mp4", "audio/mp4", write, SOUND, meta={"topic": "siren"})]


def _films() -> list[CorpusObject]:
    files = {
        # key: (clip, media type, container, codec, sound, sound codec)
        "films/circle moving right.mp4": (
            Clip("circle", "red", "moving right", "white"), "video/mp4", "mp4", "libx264", None, ""),
        "films/circle moving left.mp4": (
            Clip("circle", "blue", "moving left", "white"), "video/mp4", "mp4", "libx264", "engine", "aac"),
        "films/star going round.webm": (
            Clip("star", "yellow", "going round", "black"), "video/webm", "webm", "libvpx-vp9", None, ""),
        "films/heart growing.webm": (
            Clip("heart", "pink", "growing", "white"), "video/webm", "webm", "libvpx", "bell", "libopus"),
        "films/square moving up.mkv": (
            Clip("square", "green", "moving up", "beige"), "video/x-matroska", "matroska", "libx264", "rain", "flac"),
        "films/ring flashing.mkv": (
            Clip("ring", "orange", "flashing", "gray"), "video/x-matroska", "matroska", "libx264", None, ""),
        "films/moon shrinking.mov": (
            Clip("moon", "purple", "shrinking", "white"), "video/quicktime", "mov", "libx264", None, ""),
        "films/cross moving down.mov": (
            Clip("cross", "brown", "moving down", "white"), "video/quicktime", "mov", "mpeg4", "morse", "aac"),
    }  # fmt: skip
    return [
        CorpusObject(
            key=key,
            media_type=media_type,
            write=partial(_write_film, clip, container, codec, sound, sound_codec),
            lanes=FILM,
            meta={"caption": clip.caption},
        )
        for key, (clip, media_type, container, codec, sound, sound_codec) in files.items()
    ]


def _hostile() -> list[CorpusObject]:
    return [
        CorpusObject(
            "hostile/truncated.jpg", "image/jpeg", hostile.truncated_jpeg, PICTURE, "dead letter", "TruncatedImage"
        ),
        CorpusObject("hostile/bomb.png", "image/png", hostile.picture_bomb, PICTURE, "dead letter", "TooManyPixels"),
        CorpusObject(
            "hostile/lost directory.tiff", "image/tiff", hostile.lost_tiff, PICTURE, "dead letter", "UnidentifiedImage"
        ),
        CorpusObject(
            "hostile/locked.pdf", "application/pdf", hostile.encrypted_pdf, TEXT, "dead letter", "EncryptedPdf"
        ),
        CorpusObject("hostile/broken.pdf", "application/pdf", hostile.broken_pdf, TEXT, "dead letter", "CorruptPdf"),
        CorpusObject(
            "hostile/no streams.mp4", "video/mp4", hostile.film_without_streams, FILM, "dead letter", "NoVideoStream"
        ),
        CorpusObject(
            "hostile/half a film.mp4", "video/mp4", hostile.truncated_film, FILM, "dead letter", "TruncatedVideo"
        ),
        CorpusObject(
            "hostile/header only.wav", "audio/wav", hostile.wav_header_only, SOUND, "dead letter", "EmptyAudio"
        ),
        CorpusObject("hostile/empty.txt", "", bytes, (), "skipped", "empty"),
        CorpusObject("hostile/empty folder/", "", bytes, (), "skipped", "directory marker"),
        CorpusObject(
            "hostile/random.unknown", "application/octet-stream", partial(hostile.random_bytes, 1), (), "unrouted"
        ),
        CorpusObject(
            "hostile/random.bin", "application/octet-stream", partial(hostile.random_bytes, 2), (), "unrouted"
        ),
        # Wrong names and wrong encodings: understood all the same.
        CorpusObject("hostile/a picture.txt", "image/png", _write_liar, PICTURE),
        CorpusObject("hostile/not utf-8.txt", "text/plain", hostile.mislabelled_utf8, SHORT_TEXT),
    ]


_PICTURE_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "HEIF": "image/heic",
}


def _write_drawing(scene: Scene, picture_format: str) -> bytes:
    return pictures.encode_picture(pictures.drawn(scene), picture_format)


def _write_animation(clip: Clip) -> bytes:
    return pictures.animated_gif(draw_clip(clip, size=128)[0])


def _write_picture(make: Callable[[], Image], picture_format: str) -> bytes:
    return pictures.encode_picture(make(), picture_format)


def _write_odd(write: Callable[[Image], bytes], photograph: str) -> bytes:
    return write(pictures.photograph(photograph))


def _write_sound(kind: str, seed: int, container: str, codec: str, rate_hz: int, channels: int) -> bytes:
    return encode_sound(draw_sound(kind, seed), container, codec, rate_hz, channels)


def _write_film(clip: Clip, container: str, codec: str, sound: str | None, sound_codec: str) -> bytes:
    frames = repeat_frames(draw_clip(clip, size=128)[0], times=2)  # 32 frames, 4 s
    samples = draw_sound(sound, seed=9, duration_s=4.0) if sound else None
    return encode_clip(frames, container, codec, sound=samples, sound_codec=sound_codec)


def _write_liar() -> bytes:
    return _write_drawing(Scene("star", "red", "large", "on the left", "black"), "PNG")
