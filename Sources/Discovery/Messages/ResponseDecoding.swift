import EnvoyAPI
import Protobuf
import XDS

private let wrapperTypeURL = "type.googleapis.com/envoy.service.discovery.v3.Resource"

/// How much one response may hold: what a large mesh sends a proxy at once.
private let responseLimits = DecodingLimits(depth: 100, elements: 4_000_000, memory: 1 << 30)

extension XDS.DiscoveryResponse {
    /// - Parameter message: one gRPC message from a server, without its prefix.
    /// - Throws: what is malformed, and where.
    init(decoding message: UnsafeRawBufferPointer) throws(ProtobufError) {
        let arena = Arena()
        let response = try arena.decode(EnvoyAPI.DiscoveryResponse.self, from: message, limits: responseLimits).pointee
        var resources: [ReceivedResource] = []
        for any in response.resources_list {
            if any.pointee.type_url.string == wrapperTypeURL {
                let wrapped = try arena.decode(
                    EnvoyAPI.Resource.self, from: any.pointee.value_bytes, limits: responseLimits)
                resources.append(ReceivedResource(wrapped.pointee))
            } else {
                resources.append(
                    ReceivedResource(typeURL: any.pointee.type_url.string, body: Array(any.pointee.value_bytes)))
            }
        }
        self.init(
            versionInfo: response.version_info.string, resources: resources, typeURL: response.type_url.string,
            nonce: response.nonce.string, controlPlane: response.control_plane?.pointee.identifier.string ?? "",
            resourceErrors: response.resource_errors_list.map { ReceivedResourceError($0.pointee) })
    }
}

extension XDS.DeltaDiscoveryResponse {
    /// - Parameter message: one gRPC message from a server, without its prefix.
    /// - Throws: what is malformed, and where.
    init(decoding message: UnsafeRawBufferPointer) throws(ProtobufError) {
        let arena = Arena()
        let response = try arena.decode(
            EnvoyAPI.DeltaDiscoveryResponse.self, from: message, limits: responseLimits
        ).pointee
        self.init(
            systemVersionInfo: response.system_version_info.string,
            resources: response.resources_list.map { ReceivedResource($0.pointee) },
            removedResources: Array(response.removed_resources_list)
                + response.removed_resource_names_list.map { $0.pointee.name.string },
            typeURL: response.type_url.string, nonce: response.nonce.string,
            controlPlane: response.control_plane?.pointee.identifier.string ?? "",
            resourceErrors: response.resource_errors_list.map { ReceivedResourceError($0.pointee) })
    }
}

extension ReceivedResource {
    init(_ resource: EnvoyAPI.Resource) {
        let body = resource.resource?.pointee
        self.init(
            name: resource.name.string.isEmpty
                ? resource.resource_name?.pointee.name.string ?? "" : resource.name.string,
            version: resource.version.string, aliases: Array(resource.aliases_list),
            timeToLive: resource.ttl.map { .seconds($0.pointee.seconds) + .nanoseconds($0.pointee.nanos) },
            typeURL: body?.type_url.string ?? "", body: body.map { Array($0.value_bytes) })
    }
}

extension ReceivedResourceError {
    init(_ error: EnvoyAPI.ResourceError) {
        self.init(
            name: error.resource_name?.pointee.name.string ?? "",
            detail: error.error_detail.map { ErrorDetail($0.pointee) } ?? ErrorDetail(code: 2, message: ""))
    }
}
