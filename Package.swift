// swift-tools-version: 6.1
import PackageDescription

// The layers, from the bottom up: a target may import only what it names here
// (`make build` passes --explicit-target-dependency-import-check error).

let package = Package(
    name: "martinet",
    products: [
        .library(name: "XDS", targets: ["XDS", "Discovery"]),
        .library(name: "DataPlane", targets: ["DataPlane"]),
        .executable(name: "martinet", targets: ["martinet"]),
        .executable(name: "bookinfo", targets: ["bookinfo"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C: libraries of the system, and generated code.
        .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
        .target(name: "CEnvoyAPI", dependencies: ["CProtobufC"]),
        .target(name: "CLinux"),
        // RE2 behind a C interface: the regular expressions that Envoy's configuration means.
        .target(name: "CRE2", linkerSettings: [.linkedLibrary("re2")]),

        // Words.
        .target(name: "Time"),
        .target(name: "Addresses"),
        .target(name: "HTTP"),
        .target(name: "Patterns", dependencies: ["CRE2"]),
        .target(name: "Documents", dependencies: [.product(name: "Yams", package: "Yams")]),
        .target(
            name: "Mesh",
            dependencies: [
                "Addresses", "Documents", "Patterns",
                .product(name: "HashTreeCollections", package: "swift-collections"),
            ]),

        // Decisions: no sockets, clocks, threads or async.
        .target(
            name: "XDS",
            dependencies: ["Time", "COpenSSL", .product(name: "HashTreeCollections", package: "swift-collections")]),
        .target(name: "Identity", dependencies: ["Time"]),

        .target(
            name: "Translation",
            dependencies: [
                "Addresses", "Documents", "EnvoyAPI", "CEnvoyAPI", "Identity", "Mesh", "Patterns", "Protobuf", "Time",
                "XDS", .product(name: "HashTreeCollections", package: "swift-collections"),
            ]),
        // What a proxy decides by the resources that it got: which route, which endpoint, who may.
        .target(
            name: "Forwarding",
            dependencies: [
                "Addresses", "Certificates", "Documents", "EnvoyAPI", "CEnvoyAPI", "HTTP", "Identity", "Patterns",
                "Protobuf", "Time",
            ]),

        // Wire: bytes in, bytes and events out.
        .target(name: "Protobuf", dependencies: ["CProtobufC", "Documents"]),
        .target(name: "EnvoyAPI", dependencies: ["CEnvoyAPI", "CProtobufC", "Protobuf"]),
        .target(name: "Certificates", dependencies: ["COpenSSL", "Identity", "Time"]),
        .target(name: "TLS", dependencies: ["Certificates", "COpenSSL", "Time"]),
        .target(name: "HTTP1", dependencies: ["HTTP"]),
        .target(name: "HTTP2", dependencies: ["CNghttp2", "HTTP", "Time"]),
        .target(name: "GRPC", dependencies: ["HTTP", "HTTP2", "Time"]),

        // World: the only input and output.
        .target(
            name: "Reactor",
            dependencies: ["CLinux", "TLS", "Time", .product(name: "Logging", package: "swift-log")]),
        .target(name: "Store", dependencies: ["Time", .product(name: "GRDB", package: "GRDB.swift")]),

        // Assembly.
        .target(
            name: "Discovery",
            dependencies: [
                "XDS", "EnvoyAPI", "CEnvoyAPI", "Protobuf", "GRPC", "HTTP2", "TLS", "Reactor", "Time",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ]),
        .target(
            name: "ControlPlane",
            dependencies: [
                "Addresses", "Discovery", "Documents", "XDS", "EnvoyAPI", "CEnvoyAPI", "Protobuf", "GRPC", "TLS",
                "Certificates",
                "Identity", "Mesh", "Reactor", "Store", "Time", "Translation",
                .product(name: "HashTreeCollections", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ]),
        .target(
            name: "Agent",
            dependencies: [
                "Certificates", "Discovery", "EnvoyAPI", "CEnvoyAPI", "GRPC", "Identity", "Protobuf", "Reactor", "TLS",
                "Time", "XDS",
                .product(name: "Logging", package: "swift-log"),
            ]),
        .target(
            name: "DataPlane",
            dependencies: [
                "Addresses", "Agent", "Certificates", "CEnvoyAPI", "CLinux", "Discovery", "Documents", "EnvoyAPI",
                "Forwarding",
                "GRPC", "HTTP", "HTTP1", "HTTP2", "Identity", "Patterns", "Protobuf", "Reactor", "TLS", "Time", "XDS",
                .product(name: "Logging", package: "swift-log"),
            ]),
        .target(
            name: "Console",
            dependencies: [
                "ControlPlane",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
            ]),

        // Programs.
        .executableTarget(
            name: "martinet",
            dependencies: [
                "Addresses", "Agent", "ControlPlane", "Console", "Certificates", "DataPlane", "Discovery", "Documents",
                "Identity", "Mesh", "XDS", "EnvoyAPI", "Protobuf", "GRPC", "TLS", "Reactor", "Time", "Translation",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        // The demo application, which knows nothing of meshes.
        .executableTarget(
            name: "bookinfo",
            dependencies: [
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        // Measures the server against a raw floor: `make bench`.
        .executableTarget(
            name: "martinet-bench",
            dependencies: [
                "Certificates", "CLinux", "ControlPlane", "Discovery", "EnvoyAPI", "GRPC", "Identity", "Mesh",
                "Protobuf", "Reactor", "Store", "Time", "TLS", "Translation", "XDS",
                .product(name: "Logging", package: "swift-log"),
            ]),

        .testTarget(name: "XDSTests", dependencies: ["XDS", "Time"], exclude: ["Transcripts"]),
        .target(
            name: "CProtobufTestMessages", dependencies: ["CProtobufC"], path: "Tests/CProtobufTestMessages",
            exclude: ["Protos", "generate"]),
        .testTarget(
            name: "ProtobufTests",
            dependencies: ["Documents", "Protobuf", "EnvoyAPI", "CProtobufTestMessages", "CProtobufC"]),
        .testTarget(
            name: "EnvoyAPITests", dependencies: ["EnvoyAPI", "Protobuf"],
            exclude: ["compare_descriptors.py", "refused_definitions.py"]),
        .testTarget(name: "PatternsTests", dependencies: ["Patterns"]),
        .testTarget(name: "MeshTests", dependencies: ["Addresses", "Documents", "Mesh"]),
        .testTarget(
            name: "TranslationTests",
            dependencies: ["Addresses", "EnvoyAPI", "Documents", "Identity", "Mesh", "Protobuf", "Translation", "XDS"]),
        .testTarget(
            name: "ForwardingTests",
            dependencies: [
                "Addresses", "Certificates", "CEnvoyAPI", "Documents", "EnvoyAPI", "Forwarding", "HTTP", "Identity",
                "Mesh",
                "Patterns", "Protobuf", "Time", "Translation", "XDS",
            ]),
        .testTarget(name: "IdentityTests", dependencies: ["Identity", "Time"]),
        .testTarget(name: "CertificatesTests", dependencies: ["Certificates", "Identity", "Time"]),
        .testTarget(name: "TLSTests", dependencies: ["Certificates", "TLS", "Time", "COpenSSL"]),
        .testTarget(name: "HTTP1Tests", dependencies: ["HTTP", "HTTP1"], exclude: ["Corpus"]),
        .testTarget(name: "HTTP2Tests", dependencies: ["HTTP", "HTTP2", "Time"]),
        .testTarget(name: "GRPCTests", dependencies: ["GRPC", "HTTP", "HTTP2", "Time"]),
        .testTarget(name: "ReactorTests", dependencies: ["Reactor", "TLS", "Time"]),
        .testTarget(
            name: "StoreTests", dependencies: ["Store", "Time", .product(name: "GRDB", package: "GRDB.swift")]),
        .testTarget(
            name: "DiscoveryTests",
            dependencies: [
                "Discovery", "EnvoyAPI", "Protobuf", "XDS", "GRPC", "HTTP2", "Reactor", "TLS", "Time",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .testTarget(
            name: "ControlPlaneTests",
            dependencies: [
                "Certificates", "ControlPlane", "Discovery", "Documents", "GRPC", "Identity", "Mesh", "XDS", "EnvoyAPI",
                "Protobuf", "Reactor", "Store", "TLS", "Time", "Translation",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .testTarget(
            name: "AgentTests",
            dependencies: [
                "Agent", "Certificates", "Discovery", "EnvoyAPI", "GRPC", "Identity", "Protobuf", "Reactor", "TLS",
                "Time", "XDS",
                .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["Peers"]),
        .testTarget(
            name: "DataPlaneTests",
            dependencies: [
                "Addresses", "Certificates", "DataPlane", "Documents", "EnvoyAPI", "Forwarding", "HTTP", "HTTP1",
                "HTTP2", "Identity",
                "Protobuf",
                "Reactor", "TLS", "Time", "XDS", .product(name: "Logging", package: "swift-log"),
            ]),
        .target(
            name: "FuzzTargets",
            dependencies: [
                "Addresses", "DataPlane", "Documents", "EnvoyAPI", "Forwarding", "GRPC", "HTTP", "HTTP1", "HTTP2",
                "Mesh",
                "Protobuf", "TLS", "Time", "XDS",
            ],
            path: "Tests/FuzzTargets"),
        .testTarget(name: "TidyTests"),
        .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets"], exclude: ["Corpus"]),
        .testTarget(
            name: "ConsoleTests",
            dependencies: ["Console", .product(name: "CoreMetrics", package: "swift-metrics")]),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "Addresses", "bookinfo", "martinet", "Time", .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["Peers"]),
    ],
    swiftLanguageModes: [.v6]
)

// `make fuzz` sets FUZZ: the program gets its main from libFuzzer, so nothing else can link it.
if Context.environment["FUZZ"] != nil {
    package.targets.append(.executableTarget(name: "martinet-fuzz", dependencies: ["FuzzTargets"]))
}
