// swift-tools-version: 6.1
import PackageDescription

// The layers, from the bottom up: a target may import only what it names here
// (`make build` passes --explicit-target-dependency-import-check error).

let package = Package(
    name: "martinet",
    products: [
        .library(name: "XDS", targets: ["XDS"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C: libraries of the system, and generated code.
        .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
        .target(name: "CEnvoyAPI", dependencies: ["CProtobufC"]),
        .target(name: "CLinux"),

        // Words.
        .target(name: "Time"),

        // Decisions: no sockets, clocks, threads or async.
        .target(
            name: "XDS",
            dependencies: ["Time", "COpenSSL", .product(name: "HashTreeCollections", package: "swift-collections")]),

        // Wire: bytes in, bytes and events out.
        .target(name: "Protobuf", dependencies: ["CProtobufC", .product(name: "Yams", package: "Yams")]),
        .target(name: "EnvoyAPI", dependencies: ["CEnvoyAPI", "CProtobufC", "Protobuf"]),
        .target(name: "TLS", dependencies: ["COpenSSL", "Time"]),
        .target(name: "HTTP2", dependencies: ["CNghttp2", "Time"]),
        .target(name: "GRPC", dependencies: ["HTTP2", "Time"]),

        // World: the only input and output.
        .target(
            name: "Reactor", dependencies: ["CLinux", "TLS", "Time", .product(name: "Logging", package: "swift-log")]),

        .testTarget(name: "XDSTests", dependencies: ["XDS", "Time"]),
        .testTarget(name: "ProtobufTests", dependencies: ["Protobuf", "EnvoyAPI"]),
        .testTarget(name: "EnvoyAPITests", dependencies: ["EnvoyAPI", "Protobuf"]),
        .testTarget(name: "TLSTests", dependencies: ["TLS", "Time", "COpenSSL"]),
        .testTarget(name: "HTTP2Tests", dependencies: ["HTTP2", "Time"]),
        .testTarget(name: "GRPCTests", dependencies: ["GRPC", "HTTP2", "Time"]),
        .testTarget(name: "ReactorTests", dependencies: ["Reactor", "TLS", "Time"]),
    ],
    swiftLanguageModes: [.v6]
)
