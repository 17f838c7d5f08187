//! How to use engset, topic by topic.
