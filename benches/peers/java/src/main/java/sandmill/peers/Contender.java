package sandmill.peers;

/** One way to read a topic from its beginning to its end. */
interface Contender {
    /** Reads the topic and says so, to the last commit; an exception says where it failed. */
    void run() throws Exception;

    /** Leaves the broker in order; behind a failure it would only wait for answers that do not come. */
    void leave();
}
