import ArgumentParser
import Foundation
import NIOCore
import NIOPosix

struct Echo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Answer each line over TCP with the same line behind a word.",
        discussion: """
            EXAMPLES
              bookinfo echo --listen 127.0.0.1:9000 --listen 127.0.0.1:9001 --prefix one
            """)

    @Option(help: ArgumentHelp("Where to take connections; may be repeated.", valueName: "address:port"))
    var listen = [SocketPlace(host: "127.0.0.1", port: 9000)]

    @Option(help: ArgumentHelp("The word before each line.", valueName: "word"))
    var prefix = "hello"

    func run() async throws {
        let prefix = prefix
        let group = MultiThreadedEventLoopGroup.singleton
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(EchoedLines(prefix: prefix))
                }
            }
        var servers: [any Channel] = []
        for place in listen {
            servers.append(try await bootstrap.bind(host: place.host, port: place.port).get())
            tell("echo \(prefix) listens on \(place)")
        }
        // A line that arrived is answered in the same turn of its loop, so nothing is under way when this ends.
        let signals = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { [servers] in
                for server in servers { server.close(promise: nil) }
            }
            source.resume()
            return source
        }
        for server in servers { try await server.closeFuture.get() }
        for source in signals { source.cancel() }
    }
}

private final class EchoedLines: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Bytes of one line; a longer one ends the connection.
    private static let longestLine = 64 << 10
    private let prefix: String
    private var line: [UInt8] = []

    init(prefix: String) { self.prefix = prefix }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var answer = context.channel.allocator.buffer(capacity: 256)
        for byte in unwrapInboundIn(data).readableBytesView {
            line.append(byte)
            guard byte == UInt8(ascii: "\n") else { continue }
            answer.writeString(prefix + " ")
            answer.writeBytes(line)
            line.removeAll(keepingCapacity: true)
        }
        if answer.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(answer), promise: nil) }
        if line.count > Self.longestLine { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
