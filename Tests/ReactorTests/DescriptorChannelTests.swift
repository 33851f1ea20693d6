import Foundation
import Testing

@testable import Reactor

struct DescriptorChannelTests {
    private func path() -> String { "/tmp/martinet-channel-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock" }

    @Test func socketsGoWithTheMessageThatTheyAreOf() throws {
        let path = path()
        #expect(try DescriptorChannel.connect(to: path) == nil)
        let door = try ListeningSocket(.unix(path: path))
        let client = try #require(try DescriptorChannel.connect(to: path))
        let server = try #require(DescriptorChannel.accept(on: door))
        #expect(server.peer?.user == getuid() && client.peer?.user == getuid())

        let sockets = try (0..<DescriptorChannel.mostDescriptors).map { _ in
            try ListeningSocket(.loopback(port: 0))
        }
        try server.send([], descriptors: sockets.map(\.descriptor))
        try server.send([UInt8](repeating: 7, count: 100_000))
        let (empty, descriptors) = try client.receive(within: .seconds(5))
        let adopted = try descriptors.map { try ListeningSocket(adopting: $0) }
        #expect(empty.isEmpty && adopted.map(\.address) == sockets.map(\.address))
        let (message, none) = try client.receive(within: .seconds(5))
        #expect(message == [UInt8](repeating: 7, count: 100_000) && none.isEmpty)
    }

    @Test func whoSaysNothingNonsenseOrGoodbyeIsToldApart() throws {
        let path = path()
        let door = try ListeningSocket(.unix(path: path))
        var client = try DescriptorChannel.connect(to: path)
        let server = try #require(DescriptorChannel.accept(on: door))
        #expect(throws: DescriptorChannel.Problem.late) { try server.receive(within: .milliseconds(20)) }
        client = nil
        #expect(client == nil)
        #expect(throws: DescriptorChannel.Problem.ended) { try server.receive(within: nil) }
        let raw = try RawSocket(connectingTo: .unix(path: path))
        let other = try #require(DescriptorChannel.accept(on: door))
        raw.send("\u{7f}\u{7f}\u{7f}\u{7f}")
        #expect(throws: DescriptorChannel.Problem.malformed) { try other.receive(within: .seconds(5)) }
        door.shutDown()
        #expect(DescriptorChannel.accept(on: door) == nil)
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func theFileOfASocketIsRemovedByWhoHasIt() throws {
        let path = path()
        var first: ListeningSocket? = try ListeningSocket(.unix(path: path))
        var second: ListeningSocket? = try ListeningSocket(adopting: dup(first?.descriptor ?? -1), withFile: true)
        second?.leaveFile()
        second = nil
        #expect(FileManager.default.fileExists(atPath: path))
        second = try ListeningSocket(adopting: dup(first?.descriptor ?? -1), withFile: true)
        first?.leaveFile()
        first = nil
        #expect(FileManager.default.fileExists(atPath: path) && second != nil)
        second = nil
        #expect(!FileManager.default.fileExists(atPath: path))
    }
}
