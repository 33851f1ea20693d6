import Mesh
import Testing
import XDS

@testable import Translation

/// Services of every kind.
let manyServices = """
    apiVersion: v1
    kind: Service
    metadata: { name: reviews, namespace: default }
    spec: { clusterIP: 10.0.0.1, selector: { app: reviews }, ports: [{ port: 9080, name: http }] }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: ratings, namespace: default }
    spec: { clusterIP: 10.0.0.2, selector: { app: ratings }, ports: [{ port: 9080, name: grpc-web }] }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: mysql, namespace: default }
    spec: { clusterIP: 10.0.0.3, selector: { app: mysql }, ports: [{ port: 3306, name: mysql }] }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: unsaid, namespace: default }
    spec: { clusterIP: 10.0.0.4, selector: { app: unsaid }, ports: [{ port: 7000 }] }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: mongo, namespace: default }
    spec: { clusterIP: None, selector: { app: mongo }, ports: [{ port: 27017, name: mongo }] }
    ---
    apiVersion: networking.istio.io/v1
    kind: ServiceEntry
    metadata: { name: apis, namespace: default }
    spec:
      hosts: [a.example.com, b.example.com]
      ports: [{ number: 443, name: tls, protocol: TLS }]
      resolution: DNS
    ---
    apiVersion: networking.istio.io/v1
    kind: ServiceEntry
    metadata: { name: range, namespace: default }
    spec:
      hosts: [range.example.com]
      addresses: [192.168.7.0/24]
      ports: [{ number: 9080, name: tcp, protocol: TCP }]
      resolution: NONE
    """

@Test func redirectedCallsFindTheListenerOfTheirPortOrVirtualAddress() throws {
    let mesh = try ListenerCase(manyServices)
    #expect(
        mesh.outbound.map(\.name) == [
            "0.0.0.0_27017", "0.0.0.0_443", "0.0.0.0_9080", "10.0.0.3_3306", "10.0.0.4_7000", "virtualOutbound",
        ])
    #expect(
        try mesh.outbound.named("0.0.0.0_9080").chains == [
            "raw_buffer alpn http/1.0… → http 9080", "192.168.7.0 → tcp outbound|9080||range.example.com",
            "any → tcp PassthroughCluster",
        ])
    #expect(
        try mesh.outbound.named("0.0.0.0_443").chains == [
            "a.example.com → tcp outbound|443||a.example.com", "b.example.com → tcp outbound|443||b.example.com",
            "any → tcp PassthroughCluster",
        ])
    #expect(
        try mesh.outbound.named("10.0.0.3_3306").chains == [
            "any → tcp outbound|3306||mysql.default.svc.cluster.local"
        ])
    #expect(
        try mesh.outbound.named("10.0.0.4_7000").chains == [
            "raw_buffer alpn http/1.0… → http 7000", "any → tcp outbound|7000||unsaid.default.svc.cluster.local",
        ])
    let virtual = try mesh.outbound.named("virtualOutbound")
    #expect(virtual["use_original_dst"].flag == true)
    #expect(virtual["address.socket_address.port_value"].number == 15001)
    #expect(virtual.chains == ["port 15001 → tcp BlackHoleCluster", "any → tcp PassthroughCluster"])
    for listener in mesh.outbound where listener.name != "virtualOutbound" {
        #expect(try Read(listener)["bind_to_port"].flag == false)
    }
    try expectEnvoyTakes(mesh.outbound + mesh.clusters)
}

@Test func whatNoObjectNamesIsRefusedWhereTheMeshSaysSo() throws {
    let mesh = try ListenerCase(
        manyServices + """

            ---
            apiVersion: martinet.dev/v1
            kind: MeshConfig
            metadata: { name: default }
            spec: { outboundTrafficPolicy: REGISTRY_ONLY }
            """)
    #expect(try mesh.outbound.named("virtualOutbound").chains.last == "any → tcp BlackHoleCluster")
    #expect(try mesh.outbound.named("0.0.0.0_443").chains.last == "any → tcp BlackHoleCluster")
}

@Test func withoutInterceptionEachPortIsAListenerOnTheWorkloadsOwnAddress() throws {
    let mesh = try ListenerCase(manyServices, ListenerCase.explicit())
    #expect(
        mesh.outbound.map(\.name) == [
            "127.3.0.2_27017", "127.3.0.2_3306", "127.3.0.2_443", "127.3.0.2_7000", "127.3.0.2_9080",
        ])
    #expect(try mesh.outbound.named("127.3.0.2_3306").chains.count == 1)
    #expect(try !mesh.outbound.named("127.3.0.2_3306")["bind_to_port"].isThere)
    #expect(try mesh.outbound.named("127.3.0.2_443").chains.count == 2)
    try expectEnvoyTakes(mesh.outbound + mesh.clusters)
}

@Test func ofTwoStreamsOnOnePortTheOlderHasIt() throws {
    func entry(_ name: String, _ time: String) -> String {
        """
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: { name: \(name), namespace: default, creationTimestamp: "\(time)" }
        spec:
          hosts: [\(name).example.com]
          ports: [{ number: 5432, name: tcp, protocol: TCP }]
          resolution: DNS
        """
    }
    let mesh = try ListenerCase(
        entry("a", "2026-02-01T00:00:00Z") + "\n---\n" + entry("b", "2026-01-01T00:00:00Z"), ListenerCase.explicit())
    #expect(try mesh.outbound.named("127.3.0.2_5432").chains == ["any → tcp outbound|5432||b.example.com"])
}

@Test func routesOfStreamsAreFilterChainsWithWeights() throws {
    let mesh = try ListenerCase(
        manyServices + """

            ---
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: { name: mysql, namespace: default }
            spec:
              hosts: [mysql]
              tcp:
              - route:
                - { destination: { host: mysql, subset: v1 }, weight: 80 }
                - { destination: { host: mysql, subset: v2 }, weight: 20 }
            ---
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: { name: a, namespace: default }
            spec:
              hosts: [a.example.com]
              tls:
              - match: [{ port: 443, sniHosts: [a.example.com] }]
                route: [{ destination: { host: b.example.com } }]
            ---
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata: { name: mysql, namespace: default }
            spec:
              host: mysql
              trafficPolicy: { connectionPool: { tcp: { idleTimeout: 7s } }, loadBalancer: { consistentHash: { useSourceIp: true } } }
              subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
            """)
    let listener = try mesh.outbound.named("10.0.0.3_3306")
    #expect(
        listener.chains == [
            "any → tcp outbound|3306|v1|mysql.default.svc.cluster.local 80, "
                + "outbound|3306|v2|mysql.default.svc.cluster.local 20"
        ])
    let stream = listener["default_filter_chain.filters.0.typed_config"]
    #expect(stream["idle_timeout"].text == "7s")
    #expect(stream["hash_policy.0.source_ip"].isThere)
    #expect(
        try mesh.outbound.named("0.0.0.0_443").chains.first == "a.example.com → tcp outbound|443||b.example.com")
    try expectEnvoyTakes(mesh.outbound + mesh.clusters)
}

@Test func aSidecarObjectSaysWhichListenersThereAre() throws {
    let mesh = try ListenerCase(
        manyServices + """

            ---
            apiVersion: networking.istio.io/v1
            kind: Sidecar
            metadata: { name: web, namespace: default }
            spec:
              workloadSelector: { labels: { app: web } }
              outboundTrafficPolicy: { mode: REGISTRY_ONLY }
              egress:
              - port: { number: 9080, protocol: HTTP, name: http }
                bind: 127.9.9.9
                captureMode: NONE
                hosts: ["./reviews.default.svc.cluster.local"]
              - port: { number: 3306, protocol: TCP, name: tcp }
                captureMode: NONE
                hosts: ["./mysql.default.svc.cluster.local"]
              - hosts: ["./unsaid.default.svc.cluster.local"]
            """)
    #expect(
        mesh.outbound.map(\.name) == ["10.0.0.4_7000", "127.0.0.1_3306", "127.9.9.9_9080", "virtualOutbound"])
    #expect(try mesh.outbound.named("127.9.9.9_9080").chains == ["any → http 9080"])
    #expect(try !mesh.outbound.named("127.0.0.1_3306")["bind_to_port"].isThere)
    #expect(try mesh.outbound.named("virtualOutbound").chains.last == "any → tcp BlackHoleCluster")
    try expectEnvoyTakes(mesh.outbound + mesh.clusters)
}

@Test func aConnectionManagerHasTheFiltersAndHabitsOfIstios() throws {
    let mesh = try ListenerCase(manyServices, ListenerCase.explicit())
    let manager = try mesh.outbound.named("127.3.0.2_9080")["filter_chains.0.filters.0.typed_config"]
    #expect(
        manager["http_filters"].list.map { $0["name"].text } == [
            "envoy.filters.http.grpc_web", "envoy.filters.http.grpc_stats", "envoy.filters.http.fault",
            "envoy.filters.http.cors", "envoy.filters.http.router",
        ])
    #expect(manager["server_name"].text == "istio-envoy")
    #expect(manager["upgrade_configs.0.upgrade_type"].text == "websocket")
    #expect(manager["http2_protocol_options.allow_connect"].flag == true)
    #expect(manager["use_remote_address"].flag == false)
    #expect(manager["normalize_path"].flag == true)
    #expect(manager["stream_idle_timeout"].text == "0s")
    #expect(manager["access_log"].list.map { $0["name"].text } == ["envoy.access_loggers.http_grpc"])
    #expect(manager["tracing.random_sampling.value"].number == 1)
}
