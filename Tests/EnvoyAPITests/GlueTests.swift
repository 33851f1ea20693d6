import EnvoyAPI
import Protobuf
import Testing

@Suite struct GlueTests {
    let arena = Arena()

    /// An EDS cluster with mutual TLS over SDS, circuit breakers, outlier detection and HTTP/2.
    func makeCluster() -> UnsafeMutablePointer<Cluster> {
        arena.make(Cluster.self) { c in
            c.name = arena("outbound|9080||reviews")
            c.set(type: .EDS)
            c.eds_cluster_config = arena.make {
                $0.eds_config = arena.ads()
                $0.service_name = arena("reviews")
            }
            c.connect_timeout = arena.duration(.milliseconds(1500))
            c.lb_policy = .LEAST_REQUEST
            c.set(least_request_lb_config: arena.make { $0.choice_count = arena.u32(3) })
            c.set(ignore_health_on_host_removal: true)
            c.circuit_breakers = arena.make {
                ($0.n_thresholds, $0.thresholds) = arena.list(
                    arena.make(CircuitBreakersThresholds.self) { $0.max_connections = arena.u32(1024) },
                    arena.make(CircuitBreakersThresholds.self) {
                        $0.priority = .HIGH
                        $0.max_retries = arena.u32(0)
                    })
            }
            c.outlier_detection = arena.make { $0.consecutive_5xx = arena.u32(5) }
            let http = arena.make(HttpProtocolOptions.self) {
                $0.set(
                    explicit_http_config: arena.make {
                        $0.set(http2_protocol_options: arena.make { $0.max_concurrent_streams = arena.u32(100) })
                    })
            }
            (c.n_typed_extension_protocol_options, c.typed_extension_protocol_options) = arena.map([
                ("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", arena.any(http))
            ])
            c.transport_socket = arena.make {
                $0.name = arena("envoy.transport_sockets.tls")
                $0.set(typed_config: arena.any(makeTLS()))
            }
        }
    }

    func makeTLS() -> UnsafeMutablePointer<UpstreamTlsContext> {
        arena.make {
            $0.sni = arena("reviews.default")
            $0.common_tls_context = arena.make {
                ($0.n_alpn_protocols, $0.alpn_protocols) = arena.strings(["h2", "http/1.1"])
                ($0.n_tls_certificate_sds_secret_configs, $0.tls_certificate_sds_secret_configs) = arena.list(
                    arena.make(SdsSecretConfig.self) {
                        $0.name = arena("default")
                        $0.sds_config = arena.ads()
                    })
                $0.set(
                    validation_context_sds_secret_config: arena.make {
                        $0.name = arena("ROOTCA")
                        $0.sds_config = arena.ads()
                    })
            }
        }
    }

    @Test func aClusterComesBackFromItsBytes() throws {
        let bytes = encode(makeCluster())
        let cluster = try arena.decode(Cluster.self, from: bytes).pointee
        #expect(cluster.name.string == "outbound|9080||reviews")
        guard case .type(.EDS) = cluster.cluster_discovery_type else {
            Issue.record("not EDS")
            return
        }
        #expect(cluster.eds_cluster_config.pointee.service_name.string == "reviews")
        guard case .ads = cluster.eds_cluster_config.pointee.eds_config.pointee.config_source_specifier else {
            Issue.record("not over ADS")
            return
        }
        #expect(cluster.eds_cluster_config.pointee.eds_config.pointee.resource_api_version == .V3)
        #expect(cluster.connect_timeout.pointee.seconds == 1)
        #expect(cluster.connect_timeout.pointee.nanos == 500_000_000)
        #expect(cluster.lb_policy == .LEAST_REQUEST)
        #expect(cluster.ignore_health_on_host_removal == 1)
        let thresholds = cluster.circuit_breakers.pointee.thresholds_list
        #expect(thresholds.map(\.pointee.priority) == [.DEFAULT, .HIGH])
        #expect(thresholds[0].pointee.max_connections.pointee.value == 1024)
        #expect(thresholds[0].pointee.max_retries == nil)
        #expect(thresholds[1].pointee.max_retries.pointee.value == 0, "0 in a wrapper is not absence")

        guard case .typed_config(let any) = cluster.transport_socket.pointee.config_type else {
            Issue.record("no TLS")
            return
        }
        let tlsURL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        #expect(any.pointee.type_url.string == tlsURL)
        let tls = try arena.decode(UpstreamTlsContext.self, from: Array(any.pointee.value_bytes)).pointee
        #expect(tls.sni.string == "reviews.default")
        #expect(Array(tls.common_tls_context.pointee.alpn_protocols_list) == ["h2", "http/1.1"])
        let secrets = tls.common_tls_context.pointee.tls_certificate_sds_secret_configs_list
        #expect(secrets.map(\.pointee.name.string) == ["default"])

        let again = try arena.decode(Cluster.self, from: bytes)
        #expect(encode(again) == bytes)
    }

    @Test func protocReadsWhatWeEncode() throws {
        let result = try Tools.protoc(
            [
                "-I\(Tools.protos)", "--decode=envoy.config.cluster.v3.Cluster",
                "envoy/config/cluster/v3/cluster.proto",
                "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
                "envoy/extensions/transport_sockets/tls/v3/tls.proto",
            ], input: encode(makeCluster()))
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.text == expectedClusterText)
    }

    @Test func weReadWhatProtocEncodes() throws {
        let result = try Tools.protoc(
            [
                "-I\(Tools.protos)", "--encode=envoy.config.cluster.v3.Cluster",
                "envoy/config/cluster/v3/cluster.proto",
                "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
                "envoy/extensions/transport_sockets/tls/v3/tls.proto",
            ], input: Array(expectedClusterText.utf8))
        #expect(result.status == 0, "\(result.errors)")
        #expect(encode(try arena.decode(Cluster.self, from: result.output)) == result.output)
        #expect(result.output == encode(makeCluster()))
    }

    @Test func theLastMemberSetIsTheOneThatCounts() {
        var route = arena.make(RouteAction.self)
        #expect(route.pointee.cluster_specifier == nil)
        route.pointee.set(cluster: arena("a"))
        route.pointee.set(cluster_header: arena("x-cluster"))
        guard case .cluster_header("x-cluster") = route.pointee.cluster_specifier else {
            Issue.record("\(String(describing: route.pointee.cluster_specifier))")
            return
        }
        // Field 2, length 9: and nothing of the first member.
        #expect(encode(route) == [0x12, 9] + Array("x-cluster".utf8))
        route = arena.make { $0.set(cluster: arena("")) }
        #expect(encode(route) == [0x0a, 0], "an empty string in a oneof is present")
    }

    @Test func scalarsBoolsAndBytesInAOneofKeepTheirValues() throws {
        let value = arena.value(false)
        #expect(encode(value) == [0x20, 0])
        guard case .bool_value(false) = try arena.decode(ProtobufValue.self, from: [0x20, 0]).pointee.kind else {
            Issue.record("not false")
            return
        }
        let source = arena.make(DataSource.self) { $0.set(inline_bytes: arena.bytes([0, 1, 255])) }
        guard case .inline_bytes(let bytes) = source.pointee.specifier else {
            Issue.record("no bytes")
            return
        }
        #expect(Array(bytes) == [0, 1, 255])
    }

    @Test func aFieldCalledLikeProtobufCsOwnOrSwiftsIsAField() throws {
        // Runtime.base, ConfigSource.self, ProtocolVersion: names that C or Swift use themselves.
        let runtime = arena.make(BootstrapRuntime.self) { $0.base = arena.structure(["a": 1]) }
        let again = try arena.decode(BootstrapRuntime.self, from: encode(runtime))
        #expect(again.pointee.base.pointee.fields_list.map(\.pointee.key.string) == ["a"])
        let source = arena.make(ConfigSource.self) { $0.set(self: arena.make()) }
        guard case .self_ = source.pointee.config_source_specifier else {
            Issue.record("not self")
            return
        }
    }

    @Test func structuresKeepTheirOrderAndKinds() throws {
        let structure = arena.structure([
            "NAMESPACE": "default", "weight": 1.5, "on": true, "none": nil, "list": [1, "two", []],
            "object": ["inner": ["deep": false]],
        ])
        #expect(
            structure.pointee.fields_list.map(\.pointee.key.string)
                == ["NAMESPACE", "weight", "on", "none", "list", "object"])
        // protoc sorts maps by key.
        let result = try Tools.protoc(
            ["-I\(Tools.protos)", "--decode=google.protobuf.Struct", "google/protobuf/struct.proto"],
            input: encode(structure))
        #expect(result.status == 0, "\(result.errors)")
        let text = result.text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(
            text == """
                fields { key: "NAMESPACE" value { string_value: "default" } } \
                fields { key: "list" value { list_value { values { number_value: 1 } values { string_value: "two" } \
                values { list_value { } } } } } \
                fields { key: "none" value { null_value: NULL_VALUE } } \
                fields { key: "object" value { struct_value { fields { key: "inner" value { struct_value { \
                fields { key: "deep" value { bool_value: false } } } } } } } } \
                fields { key: "on" value { bool_value: true } } \
                fields { key: "weight" value { number_value: 1.5 } }
                """)
    }

    @Test(arguments: [
        (Duration.milliseconds(-500), Int64(0), Int32(-500_000_000)), (.seconds(-2) - .nanoseconds(1), -2, -1),
        (.zero, 0, 0), (.seconds(3600), 3600, 0), (.nanoseconds(1), 0, 1),
    ])
    func durationsHaveOneSign(duration: Duration, seconds: Int64, nanos: Int32) {
        let message = arena.duration(duration).pointee
        #expect(message.seconds == seconds)
        #expect(message.nanos == nanos)
    }

    @Test func unsetListsAreEmpty() {
        let cluster = arena.make(Cluster.self).pointee
        #expect(cluster.health_checks_list.isEmpty)
        #expect(cluster.lrs_report_endpoint_metrics_list.isEmpty)
        #expect(cluster.name.string == "")
        #expect(arena.make(ReflectionFileDescriptorResponse.self).pointee.file_descriptor_proto_list.isEmpty)
    }
}
