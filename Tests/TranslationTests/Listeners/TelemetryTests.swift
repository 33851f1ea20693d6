import Mesh
import Testing
import XDS

@testable import Translation

private func mesh(_ telemetry: String) throws -> ListenerCase {
    try ListenerCase(
        """
        apiVersion: v1
        kind: Service
        metadata: { name: web, namespace: default }
        spec: { selector: { app: web }, ports: [{ port: 80, name: http }] }
        ---
        apiVersion: martinet.dev/v1
        kind: MeshConfig
        metadata: { name: default }
        spec: { tracingSampling: 2.5, accessLog: { file: /var/log/access, format: "%RESPONSE_CODE%" } }
        \(telemetry)
        """, ListenerCase.explicit())
}

extension ListenerCase {
    fileprivate func manager(_ resources: [XDS.Resource]) throws -> Read {
        try Read(#require(resources.first))["filter_chains.0.filters.0.typed_config"]
    }
}

@Test func theMeshSaysWhereAccessLogsGo() throws {
    let mesh = try mesh("")
    let logs = try mesh.manager(mesh.inbound)["access_log"].list
    #expect(logs.map { $0["name"].text } == ["envoy.access_loggers.file", "envoy.access_loggers.http_grpc"])
    #expect(logs[0]["typed_config.path"].text == "/var/log/access")
    #expect(logs[0]["typed_config.log_format.text_format_source.inline_string"].text == "%RESPONSE_CODE%\n")
    #expect(logs[1]["typed_config.common_config.grpc_service.envoy_grpc.cluster_name"].text == "martinet")
    #expect(logs[1]["typed_config.common_config.log_name"].text == "inbound")
    try expectEnvoyTakes(mesh.inbound + mesh.clusters)
}

@Test func theNarrowestTelemetrySaysWhatIsLoggedAndTraced() throws {
    let mesh = try mesh(
        """
        ---
        apiVersion: telemetry.istio.io/v1
        kind: Telemetry
        metadata: { name: all, namespace: istio-system }
        spec:
          accessLogging: [{ disabled: true }]
          tracing: [{ randomSamplingPercentage: 50, enableIstioTags: false, useRequestIdForTraceSampling: false }]
        ---
        apiVersion: telemetry.istio.io/v1
        kind: Telemetry
        metadata: { name: web, namespace: default }
        spec:
          selector: { matchLabels: { app: web } }
          accessLogging:
          - { match: { mode: SERVER }, providers: [{ name: envoy }], filter: { expression: "response.code >= 400" } }
          tracing: [{ customTags: { where: { literal: { value: here } }, who: { header: { name: x-who } } } }]
        """)
    let inbound = try mesh.manager(mesh.inbound)
    #expect(inbound["access_log"].list.map { $0["name"].text } == ["envoy.access_loggers.file"])
    #expect(
        inbound["access_log.0.filter.extension_filter.name"].text == "envoy.access_loggers.extension_filters.cel")
    #expect(inbound["access_log.0.filter.extension_filter.typed_config.expression"].text == "response.code >= 400")
    #expect(inbound["tracing.random_sampling.value"].number == 50)
    #expect(inbound["tracing.custom_tags"].list.map { $0["tag"].text } == ["where", "who"])
    #expect(inbound["request_id_extension.typed_config.use_request_id_for_trace_sampling"].flag == false)
    #expect(try mesh.manager(mesh.outbound)["access_log"].list.isEmpty)
    try expectEnvoyTakes(mesh.inbound + mesh.outbound + mesh.clusters)
}

@Test func spansThatAreNotReportedAreNotMade() throws {
    let mesh = try mesh(
        """
        ---
        apiVersion: telemetry.istio.io/v1
        kind: Telemetry
        metadata: { name: web, namespace: default }
        spec: { tracing: [{ disableSpanReporting: true }] }
        """)
    #expect(try !mesh.manager(mesh.inbound)["tracing"].isThere)
}
