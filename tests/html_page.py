"""An HTML page as a browser takes it apart."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "path", "use", "image"}
_FETCHING = {"src", "href", "srcset"}


class Page(HTMLParser):
    """A page whose tags are closed in order.

    Attributes:
        open: tags that are never closed.
        tags: all of them, in order.
        attributes: names and values.
        fetched: what attributes have a browser load from elsewhere.
        text: what is shown.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    @property
    def fetched(self) -> list[str]:
        return [
            value
            for name, value in self.attributes
            if name.split(":")[-1] in _FETCHING and not value.startswith("#")
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
