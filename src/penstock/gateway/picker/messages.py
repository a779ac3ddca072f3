"""The protobuf messages of Envoy's external processing and of gRPC health, as far as they are used.

Numbers from envoy/service/ext_proc/v3/external_processor.proto, envoy/config/core/v3/base.proto and
grpc/health/v1/health.proto. Fields that are not declared here are skipped by the parser, so a newer Envoy does no harm.
The descriptors live in a pool of their own: another library in this process may bring the same names.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import DESCRIPTOR as STRUCT

Message = Any
"""A protobuf message: its fields are made at run time, so no type checker knows them."""

EXT_PROC = "envoy.service.ext_proc.v3"
CORE = "envoy.config.core.v3"
HEALTH = "grpc.health.v1"
ANY_STRUCT = "google.protobuf.Struct"
PLAIN = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "string": FieldDescriptorProto.TYPE_STRING,
}
"""Enums are declared as int32: they are the same on the wire."""

FILES: dict[str, dict[str, tuple[str, ...]]] = {
    CORE: {
        "HeaderValue": ("key:string=1", "value:string=2", "raw_value:bytes=3"),
        "HeaderMap": (f"headers:*{CORE}.HeaderValue=1",),
        "HeaderValueOption": (f"header:{CORE}.HeaderValue=1", "append_action:int32=3"),
        "Metadata": (f"filter_metadata:%{ANY_STRUCT}=1",),
    },
    EXT_PROC: {
        "ProtocolConfiguration": ("request_body_mode:int32=1", "response_body_mode:int32=2"),
        "HttpHeaders": (f"headers:{CORE}.HeaderMap=1", "end_of_stream:bool=3"),
        "HttpBody": ("body:bytes=1", "end_of_stream:bool=2"),
        "HttpTrailers": (f"trailers:{CORE}.HeaderMap=1",),
        "ProcessingRequest": (
            f"request_headers:|{EXT_PROC}.HttpHeaders=2",
            f"response_headers:|{EXT_PROC}.HttpHeaders=3",
            f"request_body:|{EXT_PROC}.HttpBody=4",
            f"response_body:|{EXT_PROC}.HttpBody=5",
            f"request_trailers:|{EXT_PROC}.HttpTrailers=6",
            f"response_trailers:|{EXT_PROC}.HttpTrailers=7",
            f"metadata_context:{CORE}.Metadata=8",
            "observability_mode:bool=10",
            f"protocol_config:{EXT_PROC}.ProtocolConfiguration=11",
        ),
        "HeaderMutation": (f"set_headers:*{CORE}.HeaderValueOption=1", "remove_headers:*string=2"),
        "StreamedBodyResponse": ("body:bytes=1", "end_of_stream:bool=2"),
        "BodyMutation": (f"streamed_response:|{EXT_PROC}.StreamedBodyResponse=3",),
        "CommonResponse": (f"header_mutation:{EXT_PROC}.HeaderMutation=2", f"body_mutation:{EXT_PROC}.BodyMutation=3"),
        "HeadersResponse": (f"response:{EXT_PROC}.CommonResponse=1",),
        "BodyResponse": (f"response:{EXT_PROC}.CommonResponse=1",),
        "TrailersResponse": (f"header_mutation:{EXT_PROC}.HeaderMutation=1",),
        "HttpStatus": ("code:int32=1",),
        "ImmediateResponse": (
            f"status:{EXT_PROC}.HttpStatus=1",
            f"headers:{EXT_PROC}.HeaderMutation=2",
            "body:bytes=3",
            "details:string=5",
        ),
        "ProcessingResponse": (
            f"request_headers:|{EXT_PROC}.HeadersResponse=1",
            f"response_headers:|{EXT_PROC}.HeadersResponse=2",
            f"request_body:|{EXT_PROC}.BodyResponse=3",
            f"response_body:|{EXT_PROC}.BodyResponse=4",
            f"request_trailers:|{EXT_PROC}.TrailersResponse=5",
            f"response_trailers:|{EXT_PROC}.TrailersResponse=6",
            f"immediate_response:|{EXT_PROC}.ImmediateResponse=7",
            f"dynamic_metadata:{ANY_STRUCT}=8",
        ),
    },
    HEALTH: {
        "HealthCheckRequest": ("service:string=1",),
        "HealthCheckResponse": ("status:int32=1",),
    },
}
"""Package -> message -> fields as `name:type=number`. Before the type: `*` repeated, `%` a map from string, `|` one of
the message's alternatives, which share one oneof. `HttpStatus` is Envoy's envoy.type.v3.HttpStatus."""


def _declare(message: DescriptorProto, full_name: str, line: str) -> None:
    """Adds one field to a message."""
    name, _, rest = line.partition(":")
    kind, _, number = rest.partition("=")
    mark, kind = (kind[0], kind[1:]) if kind[0] in "*%|" else ("", kind)
    field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    if mark == "%":
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        _declare(nested, full_name, "key:string=1")
        _declare(nested, full_name, f"value:{kind}=2")
        kind = f"{full_name}.{entry}"
    if mark in ("*", "%"):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if mark == "|":
        if not message.oneof_decl:
            message.oneof_decl.add(name="one")
        field.oneof_index = 0
    if kind in PLAIN:
        field.type = PLAIN[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{kind}"


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(STRUCT.serialized_pb)
    imports = [STRUCT.name]
    for package, messages in FILES.items():
        file = FileDescriptorProto(name=package, package=package, syntax="proto3", dependency=imports)
        for name, lines in messages.items():
            message = file.message_type.add(name=name)
            for line in lines:
                _declare(message, f"{package}.{name}", line)
        pool.AddSerializedFile(file.SerializeToString())
        imports = [STRUCT.name, CORE]
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(name))


ProcessingRequest = _message(f"{EXT_PROC}.ProcessingRequest")
ProcessingResponse = _message(f"{EXT_PROC}.ProcessingResponse")
HealthCheckRequest = _message(f"{HEALTH}.HealthCheckRequest")
HealthCheckResponse = _message(f"{HEALTH}.HealthCheckResponse")
