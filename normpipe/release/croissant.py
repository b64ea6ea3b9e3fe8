"""croissant.json: Croissant 1.1 metadata, by which catalogues find a release and tools load it.

http://mlcommons.org/croissant/1.1. Each data file is a FileObject with its sha256; the files of a split are a FileSet, and its
rows a RecordSet. What it was made from and by stands in the terms of PROV-O. Made from release.json alone.
"""

import json
from collections.abc import Iterator

import pyarrow as pa

from normpipe.audit.figures import Json
from normpipe.records import IMAGE_TYPE
from normpipe.release.document import ReleasedFile, ReleaseDocument
from normpipe.release.licence import LICENCE_FILE, distinct_terms
from normpipe.release.schema import release_schema
from normpipe.release.words import counted

CROISSANT_FILE = "croissant.json"

_CONTEXT: dict[str, Json] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_PARQUET = "application/x-parquet"


def croissant(document: ReleaseDocument) -> dict[str, Json]:
    """The metadata."""
    titles = [title for title, _ in distinct_terms(document.sources)]
    terms = [each for _, each in distinct_terms(document.sources)]
    links = [each.link for each in terms if each is not None and each.link]
    derived: list[Json] = [
        {
            "@type": "prov:Entity",
            "@id": (each.link if each is not None else None) or f"source-{number}",
            "prov:label": title,
        }
        for number, (title, each) in enumerate(zip(titles, terms, strict=True), 1)
    ]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": document.name,
        "description": (
            f"{counted(document.rows, 'row')} of {', '.join(titles)}, as {document.include.value}: faces rendered again with "
            "the same expression and one identity, pose and background. Normalized faces remain personal data."
        ),
        "version": document.version,
        "datePublished": document.date,
        "license": links[0] if len(titles) == 1 and links else LICENCE_FILE,
        "url": "README.md",
        "creator": {"@type": "sc:Organization", "name": "the publisher of this release", "url": "README.md"},
        "citeAs": "; ".join(each.attribution for each in terms if each is not None and each.attribution)
        or f"{document.name} {document.version}",
        "prov:wasDerivedFrom": derived,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": document.command,
            "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": document.producer},
        },
        "rai:personalSensitiveInformation": "Pictures of faces, or made from them.",
        "distribution": list(_distribution(document)),
        "recordSet": [_record_set(document, split) for split, _ in document.ordered_splits],
    }


def croissant_bytes(document: ReleaseDocument) -> bytes:
    """The file."""
    return (json.dumps(croissant(document), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _distribution(document: ReleaseDocument) -> Iterator[Json]:
    yield from (_file(file) for file in document.files)
    for split, _ in document.ordered_splits:
        yield {
            "@type": "cr:FileSet",
            "@id": f"{split}-files",
            "name": f"{split}-files",
            "description": f"Files of the split {split}.",
            "encodingFormat": _PARQUET,
            "includes": f"data/{split}-*.parquet",
        }


def _file(file: ReleasedFile) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": _PARQUET,
        "sha256": file.sha256,
    }


def _record_set(document: ReleaseDocument, split: str) -> Json:
    schema = release_schema(document.include, document.plain_ids)
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"{counted(document.splits[split].rows, 'row')}.",
        "field": [_field(split, each) for each in schema],
    }


def _field(split: str, field: pa.Field) -> Json:
    source: dict[str, Json] = {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": field.name}}
    found: dict[str, Json] = {
        "@type": "cr:Field",
        "@id": f"{split}/{field.name}",
        "name": field.name,
        "dataType": _data_type(field.type),
        "source": source,
    }
    if field.type == IMAGE_TYPE:
        source["transform"] = {"jsonPath": "bytes"}
    if pa.types.is_fixed_size_list(field.type) or pa.types.is_list(field.type):
        size = field.type.list_size if pa.types.is_fixed_size_list(field.type) else -1
        found |= {"isArray": True, "arrayShape": str(size)}
    return found


def _data_type(kind: pa.DataType) -> str:
    if kind == IMAGE_TYPE:
        return "sc:ImageObject"
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return _data_type(kind.value_type)
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
